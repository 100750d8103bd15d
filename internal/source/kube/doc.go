// Package kube watches the Kubernetes API and keeps a cluster.Store equal to it.
//
// One client-go Reflector per kind lists and watches. Behind each stands an adapter of
// ours instead of an informer's cache: it converts objects when they arrive and drops
// them, so neither a relist nor a running watch holds full objects. If the server streams
// lists (WatchList), the peak of a relist is one object, else one decoded page.
//
// A Store must not lose an address while a controller moves it from one EndpointSlice to
// another: see holder. Apart from that, every event is in the Store when the adapter
// returns.
//
// While the API is unavailable, the Store stays as it is, and the Reflectors retry after
// 0.8 s at first and after 30 to 60 s in the end. [Feed.Status] reports the age of the
// data. The package must not know who reads the Store.
package kube
