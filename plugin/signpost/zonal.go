package signpost

import (
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// zoneLabel stands between a headless Service and the topology zones of its
// endpoints, with the option zonal:
//
//	ZONE.pin._zone.SERVICE.NAMESPACE.svc     the endpoints in that zone, or nothing
//	ZONE.prefer._zone.SERVICE.NAMESPACE.svc  the same, or all if there are none
//
// ZONE may have dots, as the value of the label topology.kubernetes.io/zone may.
// Every zone counts as one that exists: whether endpoints are in it changes by the
// minute, and NODATA is what a client can tell from a Service that is not there.
const zoneLabel = "_zone"

// zoneNode finds what stands left of _zone below a Service. ClusterIPs are in no zone.
func zoneNode(e *cluster.Entry, kind nodeKind, name string) node {
	if kind != headless {
		return nodeMissing
	}
	if name == "" {
		return nodeEmpty
	}
	name, how := cutLast(name)
	if how != "pin" && how != "prefer" {
		return nodeMissing
	}
	if name == "" {
		return nodeEmpty
	}
	n := node{kind: inZone, entry: e, label: name}
	if how == "prefer" && !n.hasEndpoint() {
		return node{kind: headless, entry: e}
	}
	return n
}

func (n *node) hasEndpoint() bool {
	for range n.readyEndpoints() {
		return true
	}
	return false
}

// countReady counts the addresses of a family that the name of a headless Service
// stands for, or one of its zones if no endpoints share an address.
func (n *node) countReady(rrtype uint16) int {
	if n.kind == inZone {
		count := 0
		for ep := range n.readyEndpoints() {
			if familyType(ep.Addr) == rrtype {
				count++
			}
		}
		return count
	}
	v4, v6 := n.entry.Ready()
	if rrtype == dns.TypeAAAA {
		return v6
	}
	return v4
}
