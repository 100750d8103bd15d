// Package cluster is the shared model of a Kubernetes cluster's Services and
// the index that both halves of Signpost read: the DNS plugin to answer names,
// the forwarder to route VIPs. The same facts give the same names and routes.
//
// It is pure: values and one Store. It must not know the Kubernetes API types
// (package source converts them), DNS, netfilter, the clock, files or sockets.
//
// One goroutine at a time writes ([Store.Put], [Store.Delete], [Store.Replace]
// take a lock); any number read. Reads take no lock and do not allocate, and
// what they return is immutable: an update replaces one Service's [Entry]
// behind an atomic pointer, so a reader never sees a partial update of a Service.
package cluster
