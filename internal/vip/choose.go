package vip

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// candidate is an endpoint of a Service port, with the slice that says so.
type candidate struct {
	Backend
	*cluster.Endpoint
	slice *cluster.Slice
	place int // in the slice
}

// candidates are the endpoints of a port, by the port's name and protocol, in one
// family, sorted by address and port. Of several with one address and port the best
// is taken: see better. The list takes the memory of into.
func candidates(into []candidate, e *cluster.Entry, p *cluster.ServicePort, v4 bool, n *Node) []candidate {
	list := slices.DeleteFunc(listed(into, e, p, v4, n), func(c candidate) bool { return c.Conditions&(cluster.Additional|cluster.Superseded) != 0 })
	return slices.CompactFunc(list, func(a, b candidate) bool { return a.AddrPort == b.AddrPort })
}

// listed are all that the slices list for a port, sorted by address and port, the best
// of each first.
func listed(into []candidate, e *cluster.Entry, p *cluster.ServicePort, v4 bool, n *Node) []candidate {
	list := slices.Grow(into[:0], e.Size())
	for _, s := range e.Slices {
		i := portOf(s, p)
		if i < 0 {
			continue
		}
		for j := range s.Endpoints {
			if ep := &s.Endpoints[j]; ep.Addr.Is4() == v4 {
				b := Backend{AddrPort: netip.AddrPortFrom(ep.Addr, s.Ports[i].Number), Local: n.has(ep)}
				list = append(list, candidate{b, ep, s, j})
			}
		}
	}
	slices.SortFunc(list, func(a, b candidate) int {
		if c := a.Compare(b.AddrPort); c != 0 {
			return c
		}
		return better(&a, &b)
	})
	return list
}

// better orders the endpoints of one address and port: pods that share it, or one pod in several
// slices whose other ports differ. First come those that can have a route at all. Of them one that is ready
// goes first, and of these one on this node, so that all decisions about its traffic agree;
// then one that does not terminate, as kube-proxy has it: the pod that
// terminates gave the address back. Then the newest slice is right, and its first.
func better(a, b *candidate) int {
	first := func(a, b bool) int {
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	}
	const routeless = cluster.Additional | cluster.Superseded
	return cmp.Or(
		first(a.Conditions&routeless == 0, b.Conditions&routeless == 0),
		first(a.Has(cluster.Ready), b.Has(cluster.Ready)),
		first(a.Has(cluster.Ready) && a.Local, b.Has(cluster.Ready) && b.Local),
		first(!a.Has(cluster.Terminating), !b.Has(cluster.Terminating)),
		cmp.Compare(b.slice.Version, a.slice.Version),
		cmp.Compare(b.slice.Name, a.slice.Name),
		cmp.Compare(a.place, b.place),
	)
}

// has reports whether an endpoint is on this node.
func (n *Node) has(ep *cluster.Endpoint) bool { return ep.Node == n.Name && n.Name != cluster.Atom{} }

// draining reports whether an endpoint serves although its pod goes (KEP-1669).
func (c *candidate) draining() bool { return c.Has(cluster.Serving | cluster.Terminating) }

// choice is which endpoints serve. The sets are as Route has them.
type choice struct{ cluster, local []Backend }

func (c choice) of(s Set) []Backend {
	if s == Local {
		return c.local
	}
	return c.cluster
}

// any reports whether there is an endpoint of use, be it not of use for all.
func (c choice) any() bool { return len(c.cluster) > 0 }

// choose picks the endpoints: of those that are ready the nearest by their hints, and
// those of this node, whatever their hints; where none is ready, those that drain.
func choose(list []candidate, n *Node) choice {
	var c choice
	near := nearness(list, n)
	c.cluster = backends(list, func(e *candidate) bool { return e.Has(cluster.Ready) && near.has(e, n) })
	if c.cluster == nil {
		c.cluster = backends(list, (*candidate).draining)
	}
	c.local = backends(list, func(e *candidate) bool { return e.Local && e.Has(cluster.Ready) })
	if c.local == nil {
		c.local = backends(list, func(e *candidate) bool { return e.Local && e.draining() })
	}
	return c
}

func backends(list []candidate, is func(*candidate) bool) []Backend {
	n := 0
	for i := range list {
		if is(&list[i]) {
			n++
		}
	}
	out := slices.Grow([]Backend(nil), n) // nil for none
	for i := range list {
		if is(&list[i]) {
			out = append(out, list[i].Backend)
		}
	}
	return out
}

// near is which hints are followed.
type near uint8

const (
	anywhere near = iota
	sameZone
	sameNode
)

// nearness tells which hints to follow: those of nodes if every ready endpoint has some
// and one is for this node, else those of zones likewise, else none (KEP-4444, KEP-3015).
func nearness(list []candidate, n *Node) near {
	for _, try := range []near{sameNode, sameZone} {
		all, one := true, false
		for i := range list {
			if e := &list[i]; e.Has(cluster.Ready) {
				all = all && try.hints(e) != cluster.Atom{}
				one = one || try.has(e, n)
			}
		}
		if all && one {
			return try
		}
	}
	return anywhere
}

func (h near) hints(e *candidate) cluster.Atom {
	if h == sameNode {
		return e.ForNodes
	}
	return e.ForZones
}

// has reports whether an endpoint is meant for this node.
func (h near) has(e *candidate, n *Node) bool {
	switch h {
	case sameNode:
		return e.ForNodes.Lists(n.Name)
	case sameZone:
		return e.ForZones.Lists(n.Zone)
	}
	return true
}

// healthy counts the addresses of this node that are ready, whatever their port.
func healthy(e *cluster.Entry, v4 bool, n *Node) int {
	seen := map[netip.Addr]bool{}
	for _, s := range e.Slices {
		for i := range s.Endpoints {
			if ep := &s.Endpoints[i]; len(s.Ports) > 0 && ep.Has(cluster.Ready) && !ep.Has(cluster.Additional) && n.has(ep) && ep.Addr.Is4() == v4 {
				seen[ep.Addr] = true
			}
		}
	}
	return len(seen)
}
