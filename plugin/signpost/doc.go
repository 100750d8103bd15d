// Package signpost is a CoreDNS plugin that gives every Kubernetes Service a name
// that resolves: A, AAAA, SRV, PTR and CNAME records from an index in memory that
// follows the Kubernetes API or a folder of manifests.
//
// It must not know Kubernetes API objects beyond setup.go and feed.go, and must not
// hold a lock on the query path.
//
// # The trip of an answer
//
// A query for A web.default.svc.cluster.local passes five files:
//
//	plugin/signpost/serve.go   ServeDNS newQuestion limit reply newMessage
//	plugin/signpost/zone.go    match relative isReverse cutLast index
//	plugin/signpost/tree.go    find forwardNode serviceNode serviceKind addrs
//	internal/cluster/store.go  Synced Service get
//	plugin/signpost/answer.go  answer records addressAnswer addressRecords aRecords
//
// The question holds what is derived from the name and its zone, so nothing is derived
// twice. find returns a node of the tree or the reason why there is none, and allocates
// nothing. answer makes the records of a node. For a name without records the trip is the
// same; reply then adds a SOA record, whose serial is that of internal/cluster/serial.go.
// A headless Service or an endpoint needs internal/cluster/entry.go too.
//
// # Where a change belongs
//
//   - A new kind of name: tree.go (nodeKind, find), its records in answer.go (nodeTypes,
//     records), its words in why.go, and its names in transfer.go.
//   - A new option: options.go. What it needs of the source: feed.go.
//   - Large answers over TCP: stream.go. Other plugins of the server block: setup.go for
//     checks at the start, client.go for metadata and autopath.
package signpost
