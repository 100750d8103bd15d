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
	g := gathering{node: *n, base: "." + q.zone.service(n.entry.Service.Key), shared: n.entry.Repeated() > 0}
	g.most = max(1, q.limit/(srvSize+len(g.base)))
	if q.zone.tree == clustersetTree {
		g.visitClusters()
	} else {
		total := n.countEndpoints()
		rotate(n.entry, somewhere(total > g.most, total), g.node.standsFor, g.visit)
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

	list    []srv
	targets []target
	shared  bool            // endpoints share addresses
	records map[srv]bool    // those in list that other endpoints may make too: see add
	glue    map[target]bool // those in targets, where endpoints share addresses
	partial bool            // there is more
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
		if name == "" {
			name = endpointLabel(ep) + g.base
		}
		if !fits(name) {
			return true
		}
		if len(g.list) == g.most {
			g.partial = true
			return false
		}
		g.add(ep, srv{name, p.Number})
	}
	if name != "" && !(g.shared && seen(&g.glue, target{name, ep.Addr})) {
		g.targets = append(g.targets, target{name, ep.Addr})
	}
	return true
}

// visitClusters adds the endpoints of a ServiceImport: the name of one has the id of
// its cluster.
func (g *gathering) visitClusters() {
	whole, base := g.node.entry, g.base
	for _, id := range clustersOf(whole) {
		g.node.entry, g.base = inCluster(whole, id), "."+id+base
		total := g.node.countEndpoints()
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

// add adds a record once: several endpoints may have one hostname, or one address.
func (g *gathering) add(ep *cluster.Endpoint, record srv) {
	if (ep.Hostname != "" || g.shared) && seen(&g.records, record) {
		return
	}
	g.list = append(g.list, record)
}

// seen notes a key and reports whether it was there before.
func seen[K comparable](keys *map[K]bool, k K) bool {
	was := (*keys)[k]
	if *keys == nil {
		*keys = map[K]bool{}
	}
	(*keys)[k] = true
	return was
}

// countEndpoints counts the ready endpoints among which an answer of part of them begins.
func (n *node) countEndpoints() int {
	if n.kind == inZone {
		return n.countReady(dns.TypeA) + n.countReady(dns.TypeAAAA)
	}
	v4, v6 := n.entry.Ready()
	return v4 + v6 + n.entry.Repeated()
}
