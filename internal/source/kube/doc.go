// Package kube watches the Kubernetes API and keeps a cluster.Store equal to it.
//
// One client-go Reflector per kind lists and watches; behind each stands an
// adapter of ours instead of an informer's cache. What arrives is converted at
// once and dropped: neither a relist nor the running watch holds full objects.
// With a server that streams lists (WatchList) the peak of a relist is one
// object, else one decoded page.
//
// A Store must not lose an address for the moment in which a controller moves it
// from one EndpointSlice to another: see holder. Apart from that, every event is
// in the Store when the adapter returns.
//
// When the API is away, the Store stays as it is and the Reflectors try again, at
// first after 0.8 s and in the end every 30 to 60 s; [Feed.Status] tells the age
// of the data. The package must not know who reads the Store.
package kube
