// Package source turns objects of the Kubernetes API into ours: it is the only
// code that knows the types of k8s.io/api, so that everything behind it works
// with netip addresses and plain structs.
//
// It is pure: one object in, one object and its problems out. It must not read
// files or sockets, look at the clock, or remember what it saw (but for the
// spelling of names, which it shares). The packages kube and manifest below it
// do the reading; both come through [Convert], so the same object means the
// same, whether a server or a file said it.
//
// What is broken in an object costs that part only: an address that is none is
// left out and named in a [Problem], and the rest of the object works.
package source
