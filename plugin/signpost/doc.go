// Package signpost is a CoreDNS plugin that gives every Kubernetes Service a name
// that resolves: A, AAAA, SRV, PTR and CNAME records from an index in memory that
// follows the Kubernetes API or a folder of manifests.
//
// It decides what stands at a name (node.go, reverse.go: a tree with real inner
// nodes), makes the records (answer.go, records.go) and writes the message
// (signpost.go). It must not know Kubernetes API objects beyond setup (feed.go),
// and holds no lock on the query path.
package signpost
