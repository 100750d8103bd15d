// Package manifest reads a folder of Kubernetes manifests, watches it, and keeps
// a cluster.Store equal to it: a cluster without an API server.
//
// It reads every regular file whose name ends in .yaml, .yml or .json, in the folder and its
// subfolders. It ignores names that begin with a dot (editors' files, .git, the ..data of a
// mounted ConfigMap). It follows symbolic links to files, but not to subfolders. A file may
// contain any number of documents with Services, EndpointSlices, Namespaces, Pods and Nodes,
// or Lists of them. Documents of other kinds are counted and ignored, so that the folder can
// be the one for `kubectl apply -f`.
//
// A file is read as a whole or not at all. A file that is unreadable or invalid is reported
// with its line and keeps its last valid content. The objects of a removed file are removed.
// If an object occurs twice, the later one applies: by file name, then by line. The content of
// the Store thus depends on the content of the folder only, not on the order of edits.
//
// The package must not know client-go: it works where no API exists.
package manifest
