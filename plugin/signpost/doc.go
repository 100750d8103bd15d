// Package signpost is a CoreDNS plugin that gives every Kubernetes Service a name
// that resolves: A, AAAA, SRV, PTR and CNAME records from an index in memory that
// follows the Kubernetes API or a folder of manifests.
//
// It finds what stands at a name (tree.go: a tree with real inner nodes), makes the
// records (answer.go) and writes the message (serve.go). It must not know Kubernetes
// API objects beyond setup (feed.go), and holds no lock on the query path.
package signpost
