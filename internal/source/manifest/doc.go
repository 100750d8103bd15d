// Package manifest reads a folder of Kubernetes manifests, watches it, and keeps
// a cluster.Store equal to it: a cluster without an API server.
//
// What is read: every regular file whose name ends in .yaml, .yml or .json, in
// the folder and in its subfolders. Names that begin with a dot are left out
// (editors' files, .git, the ..data of a mounted ConfigMap); symbolic links to
// files are followed, those to subfolders are not. A file holds any number of
// documents with Services, EndpointSlices, Namespaces, Pods and Nodes, or Lists of
// them. Documents of other kinds are counted and passed over: the folder may be
// the one that `kubectl apply -f` is used with.
//
// Every file is all or nothing. One that cannot be read or understood is reported
// with its line and keeps what it last said; a file that goes takes its objects
// along. If the same object stands in two places, the later counts: in the order
// of file names, then of lines. So what the Store holds depends on the content of
// the folder only, not on the order of the edits that led to it.
//
// The package must not know client-go: it is what runs where no API is.
package manifest
