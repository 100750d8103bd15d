// Package source converts objects of the Kubernetes API to ours. It is the only code that
// knows the types of k8s.io/api; everything behind it works with netip addresses and plain
// structs.
//
// It is pure: it takes one object and returns one object with its problems. It must not
// read files or sockets, use the clock, or keep state (except a pool of names, which
// objects share). The packages kube and manifest below it read objects; both use
// [Convert], so that an object has the same meaning whether it comes from a server or from
// a file.
//
// An invalid part of an object affects that part only: an invalid address is ignored and
// reported as a [Problem], and the rest of the object works. To read a new field, add it to
// the conversion of its kind and, if it can be invalid, a text to the list in problem.go.
package source
