//go:build linux

package conformance

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/vip"
)

// predict is what a client must see by the table of the entry node: the meaning of a
// table in a few lines. It is false where the kernel does right and the client sees
// nothing of it: answers that are not masqueraded and go past the entry node.
func (w *world) predict(q question) (outcome, bool) {
	n, r := entry(q.from, q.to), w.routeTo(q)
	if r == nil {
		return outcome{kind: w.rest(q, n)}, true
	}
	d := r.Decisions[w.class(q.from, n)]
	if r.Sources != nil && !inAny(r.Sources, w.addr(q.from, q.family)) {
		d = vip.Decision{Action: vip.Drop}
	}
	switch d.Action {
	case vip.Reject:
		return outcome{kind: refused}, true
	case vip.Drop:
		return outcome{kind: dropped}, true
	}
	o := outcome{sticky: r.Affinity > 0}
	for _, b := range r.Backends(d.Set) {
		host := w.hostAt(b.Addr())
		itself := host == q.from && b.Local
		if !d.Masquerade && !itself && home(q.from) != n && home(host) != n {
			return outcome{}, false
		}
		// What is for the node itself never leaves it, and so is not masqueraded.
		masquerade := d.Masquerade && host != nodeNames[n] || itself
		o.answers = append(o.answers, answer{destination{host, b.Port()}, masquerade})
	}
	return o, true
}

// rest is what happens to what no frontend is.
func (w *world) rest(q question, node int) kind {
	p, a := w.proxies[node], w.addr(q.to.host, q.family)
	switch {
	case kindOf(q.to.host) == "":
		return untouched // an address of a host
	case p.table.Route(vip.Frontend{Addr: a}) != nil:
		return refused
	case inAny(p.facts.ServiceCIDRs, a):
		return dropped
	}
	return untouched
}

func inAny(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}

// routeTo is the route that the entry node has for what a client dials, or nil.
func (w *world) routeTo(q question) *vip.Route {
	f := vip.Frontend{Addr: w.addr(q.to.host, q.family), Port: q.to.port, Protocol: q.protocol}
	if isNode(q.to.host) {
		f.Addr = [2]netip.Addr{vip.AnyNode4, vip.AnyNode6}[q.family]
	}
	return w.proxies[entry(q.from, q.to)].table.Route(f)
}

// class is what a node takes a client for.
func (w *world) class(from string, node int) vip.Class {
	switch {
	case isPod(from) && (w.config.pods == byCIDR || w.config.pods != noWay && home(from) == node):
		return vip.FromPod
	case isNode(from) && home(from) == node:
		return vip.FromNode
	}
	return vip.FromOutside
}

// hostAt is the name of the pod with an address.
func (w *world) hostAt(a netip.Addr) string {
	for name, h := range w.hosts {
		if h.IPv4 == a || h.IPv6 == a {
			return name
		}
	}
	return a.String()
}

// equal reports whether two outcomes are the same but for their order and evenness.
func (o outcome) equal(p outcome) bool {
	return o.kind == p.kind && len(o.answers) == len(p.answers) &&
		!slices.ContainsFunc(o.answers, func(a answer) bool { return !slices.Contains(p.answers, a) })
}
