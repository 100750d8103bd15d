//go:build linux

package conformance

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/vip"
)

// predict is what a client must see by the table of the entry node: the meaning of a
// table in a few lines. It is false where the kernel does right and the client sees
// nothing of it: answers that are not masqueraded and go past the entry node; and where the dataplane
// does not do what it should, or another node than the entry node decides.
func (w *world) predict(q question) (outcome, bool) {
	n, r := entry(q.from, q.to), w.routeTo(q)
	if w.config.unaware && home(q.from) >= 0 && home(q.from) != n {
		return outcome{}, false // the client's node may take the other one's address for an unused ClusterIP
	}
	if r == nil {
		to := vip.Frontend{Addr: w.addr(q.to.host, q.family)}
		return outcome{kind: untouched}, w.lacks[OtherPorts] == "" || !w.proxies[n].taken(to)
	}
	if r.Sources != nil && !slices.ContainsFunc(r.Sources, func(p netip.Prefix) bool { return p.Contains(w.kept(q)) }) {
		return outcome{kind: dropped}, true
	}
	d := r.Policy.Of(w.class(q.from, n))
	switch d.Action {
	case vip.Reject:
		return outcome{kind: refused}, true
	case vip.Drop:
		return outcome{kind: dropped}, true
	}
	o := outcome{}
	if r.Affinity > 0 && len(r.Backends(d.Set)) > 1 {
		o.stuck = oneOf
	}
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

// routeTo is the route that the entry node has for what a client dials, or nil. Where
// only the rest of an address is, that is it; an address that is nobody's though it could be is refused
// as if there were one that drops.
func (w *world) routeTo(q question) *vip.Route {
	f := vip.Frontend{Addr: w.addr(q.to.host, q.family), Port: q.to.port, Protocol: q.protocol}
	p := w.proxies[entry(q.from, q.to)]
	if r := p.table.Route(f); r != nil {
		return r // also an external IP that is a node's
	}
	if isNode(q.to.host) {
		f.Addr = [2]netip.Addr{vip.AnyNode4, vip.AnyNode6}[q.family]
	}
	if r := p.table.Route(f); r != nil || f.IsNodePort() {
		return r
	}
	rest := vip.Frontend{Addr: f.Addr}
	if r := p.table.Route(rest); r != nil || !slices.ContainsFunc(p.facts.Enforced(), func(c netip.Prefix) bool { return c.Contains(f.Addr) }) {
		return r
	}
	return &vip.Route{Frontend: rest, Policy: vip.DropAll}
}

// class is what a node takes a client for.
func (w *world) class(from string, node int) vip.Class {
	switch {
	case isPod(from) && w.config.pods == byCIDRs, isPod(from) && home(from) == node && w.config.pods != byNothing:
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
		((o.stuck == spread && o.pause == 0) == (p.stuck == spread && p.pause == 0)) &&
		!slices.ContainsFunc(o.answers, func(a answer) bool { return !slices.Contains(p.answers, a) })
}
