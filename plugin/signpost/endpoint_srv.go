package signpost

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// endpointSRV points at the endpoints' names; addresses of the targets go along.
// Only as many records are made as can be sent: see headlessAnswer.
func (s *Signpost) endpointSRV(n *node, q question) answer {
	g := gathering{
		node: *n, base: "." + q.zone.service(n.entry.Service.Key),
		most: max(1, q.limit/srvSize),
	}
	if q.zone.tree == clustersetTree {
		g.visitClusters()
	} else {
		total := n.countReady(dns.TypeA) + n.countReady(dns.TypeAAAA)
		rotate(n.entry, somewhere(total > g.most, total), g.node.standsFor, g.visit)
	}
	if g.repeated {
		g.unique()
	}
	a := answer{records: srvRecords(q.owner, s.ttlIn(q.zone), g.list), partial: g.partial}
	for _, t := range g.targets {
		a.extra = append(a.extra, s.glue(q.zone, t.name, []netip.Addr{t.addr})...)
	}
	return a
}

// gathering is a set of SRV records of endpoints that grows.
type gathering struct {
	node node   // a copy: what a closure holds is on the heap, and most queries need none
	base string // what follows the label of an endpoint
	most int

	list     []srv
	targets  []target
	named    map[srv]bool // records of hostnames, which several endpoints may share
	repeated bool         // an address stands in several slices: see unique
	partial  bool         // there is more
}

type target struct {
	name string
	addr netip.Addr
}

// visit adds an endpoint with those of its ports that are asked for; false ends it.
func (g *gathering) visit(ep *cluster.Endpoint, ports []cluster.Port) bool {
	name := ""
	for i := range ports {
		p := &ports[i]
		if !g.node.hasPort(p.Name, p.Protocol) || g.node.sameRecord(ports[:i], p.Number) {
			continue
		}
		if len(g.list) == g.most {
			g.partial = true
			return false
		}
		if name == "" {
			name = endpointLabel(ep) + g.base
		}
		g.add(ep, srv{name, p.Number})
	}
	if name != "" {
		g.targets = append(g.targets, target{name, ep.Addr})
		g.repeated = g.repeated || ep.Has(cluster.Repeated)
	}
	return true
}

// visitClusters adds the endpoints of a ServiceImport: the name of one has the id of
// its cluster.
func (g *gathering) visitClusters() {
	whole, base := g.node.entry, g.base
	for _, id := range clustersOf(whole) {
		g.node.entry, g.base = inCluster(whole, id), "."+id+base
		total := g.node.countReady(dns.TypeA) + g.node.countReady(dns.TypeAAAA)
		rotate(g.node.entry, somewhere(total > g.most, total), g.node.standsFor, g.visit)
	}
}

// sameRecord reports whether one of the ports makes a record with that number:
// 53/UDP and 53/TCP are one, and a set has no record twice (RFC 2181 §5).
func (n *node) sameRecord(ports []cluster.Port, number uint16) bool {
	return slices.ContainsFunc(ports, func(p cluster.Port) bool {
		return p.Number == number && n.hasPort(p.Name, p.Protocol)
	})
}

func (g *gathering) add(ep *cluster.Endpoint, record srv) {
	if ep.Hostname != "" {
		if g.named[record] {
			return
		}
		if g.named == nil {
			g.named = map[srv]bool{}
		}
		g.named[record] = true
	}
	g.list = append(g.list, record)
}

// unique drops what an address in several slices made twice.
func (g *gathering) unique() {
	g.list, g.targets = withoutRepeats(g.list), withoutRepeats(g.targets)
}

func withoutRepeats[T comparable](list []T) []T {
	seen := make(map[T]bool, len(list))
	return slices.DeleteFunc(list, func(v T) bool {
		was := seen[v]
		seen[v] = true
		return was
	})
}
