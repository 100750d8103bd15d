package nftables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// installed is what a table has for one frontend. The zero value is nothing.
type installed struct {
	in    []membership
	slots []placement
}

// membership is that a frontend is in a set, maybe with a network that it takes packets
// from, or in the map that tells its Owner's number.
type membership struct {
	set     *set
	source  netip.Addr
	number  uint32
	comment string
}

// placement is the backends that a frontend has in the map of a class, by slot.
// The zero AddrPort is an empty slot.
type placement struct {
	set   *set
	slots []netip.AddrPort
}

// slotsIn are the backends in a map.
func (i installed) slotsIn(s *set) []netip.AddrPort {
	for _, p := range i.slots {
		if p.set == s {
			return p.slots
		}
	}
	return nil
}

// owner is the number that the frontend says its Owner has.
func (i installed) owner() (number uint16, ok bool) {
	for _, m := range i.in {
		if m.set.rank == ownerRank {
			number, _, ok = splitNumber(m.number)
			return number, ok
		}
	}
	return 0, false
}

// route is what a table must have for a route, with as many backends as possible
// in the slots that they have now. The number is that of the Owner, of a route with
// affinity. A nil route is nothing.
func (l *layout) route(r *vip.Route, number uint16, have installed) installed {
	var want installed
	if r == nil {
		return want
	}
	comment := nft.CommentText(r.Owner.String())
	if r.Kind == vip.OtherPorts {
		want.in = []membership{{set: l.clusterIPs, comment: comment}}
		return want
	}
	if isRestricted(r) {
		node := r.IsNodePort()
		for _, n := range r.Sources {
			want.in = append(want.in, membership{set: l.rangesSet(ranges{node, n.Bits()}), source: n.Masked().Addr()})
		}
		want.in = append(want.in, membership{set: l.rangesSet(ranges{node, restricted}), comment: comment})
	}
	forward, forwards := forwarding(r)
	if forwards && forward.affinity {
		want.in = append(want.in, membership{set: l.owners[forward.node], number: ownerNumber(number, stepFor(r.Affinity)), comment: comment})
	}
	if g, ok := refusing(r); ok {
		want.in = append(want.in, membership{set: l.groupSet(g), comment: comment})
	}
	if forwards {
		want.in = append(want.in, membership{set: l.groupSet(forward), comment: comment})
	}
	for _, s := range sets {
		if c, ok := classOf(r, s); ok {
			m := l.classSet(c)
			want.slots = append(want.slots, placement{m, place(have.slotsIn(m), r.Backends(s))})
		}
	}
	return want
}

// need adds what a route needs to be made to m, and returns the pods of this node
// that may reach themselves through it.
func (l *layout) need(r *vip.Route, m made) (pods []netip.Addr) {
	for _, s := range rangesOf(r) {
		m.ranges[s] = true
	}
	if g, ok := refusing(r); ok {
		m.groups[g] = true
	}
	g, ok := forwarding(r)
	if !ok {
		return nil
	}
	m.groups[g] = true
	if g.affinity {
		m.timeouts[roundedUp(r.Affinity)] = true
	}
	for _, s := range sets {
		if c, ok := classOf(r, s); ok {
			m.classes[c] = true
		}
		if !g.leadsTo(s) {
			continue
		}
		for _, b := range r.Backends(s) {
			if b.Local {
				pods = append(pods, b.Addr())
			}
		}
	}
	return pods
}

// nodeAddrKeys are the elements of the set of addresses that serve NodePorts.
func (l *layout) nodeAddrKeys(host dataplane.Host) map[key]bool {
	keys := map[key]bool{}
	for _, a := range host.NodePortAddrs {
		if l.Has(a) {
			keys[key{addr: a}] = true
		}
	}
	return keys
}

// check says why a route cannot be in a table at all.
func (l *layout) check(r *vip.Route) error {
	switch {
	case !l.Has(r.Addr):
		return fmt.Errorf("%v is no address of %s", r.Addr, l.Name)
	case r.Kind == vip.OtherPorts || r.Kind == vip.HealthCheck:
		return nil
	case !hasPorts(byte(r.Protocol)):
		return fmt.Errorf("protocol %d is none of tcp, udp, sctp", r.Protocol)
	case r.Port == 0:
		return fmt.Errorf("port 0 is no port")
	}
	for _, n := range r.Sources {
		if !n.IsValid() || !l.Has(n.Addr()) {
			return fmt.Errorf("source range %v is no network of %s", n, l.Name)
		}
	}
	for _, s := range sets {
		if r.Policy.LeadsTo(s) && len(r.Backends(s)) == 0 {
			return fmt.Errorf("policy %v without the backends that it leads to", r.Policy)
		}
		if err := l.checkBackends(r.Backends(s)); err != nil {
			return err
		}
	}
	return nil
}

func (l *layout) checkBackends(backends []vip.Backend) error {
	if len(backends) > maxSlots {
		return fmt.Errorf("%d backends are more than %d", len(backends), maxSlots)
	}
	for i, b := range backends {
		if !l.Has(b.Addr()) {
			return fmt.Errorf("backend %v has no address of %s", b.AddrPort, l.Name)
		}
		if b.Port() == 0 {
			return fmt.Errorf("backend %v has port 0", b.AddrPort)
		}
		if i > 0 && backends[i-1].Compare(b.AddrPort) >= 0 {
			return fmt.Errorf("backend %v is not after %v: they must be sorted, none twice", b.AddrPort, backends[i-1].AddrPort)
		}
	}
	return nil
}

// frontendKey is the key of a frontend in the maps of verdicts, and without a
// slot in those of backends.
func frontendKey(f vip.Frontend) key {
	k := key{addr: f.Addr, port: f.Port, protocol: byte(f.Protocol)}
	if f.IsNodePort() {
		k.addr = netip.Addr{}
	}
	return k
}

// ops are the operations from one state of a frontend to another. They may be cut
// into transactions anywhere: after each of them, new connections go to backends
// of the old or the new state, or are refused if one of the two refuses them. (But not
// where a frontend goes from one Owner with affinity to another: that is short, and
// so never cut.)
func (l *layout) ops(f vip.Frontend, have, want installed) []op {
	k := frontendKey(f)
	var ops []op
	for _, p := range want.slots {
		ops = appendSlots(ops, p.set, k, have.slotsIn(p.set), p.slots)
	}
	for _, m := range want.in {
		ops = appendMembership(ops, k, have.in, m)
	}
	for r := restRank + 1; r > 0; r-- {
		for _, m := range have.in {
			if m.set.rank == r-1 && !slices.ContainsFunc(want.in, m.sameElement) {
				ops = append(ops, op{verb: drop, set: m.set, key: m.key(k)})
			}
		}
	}
	for _, p := range have.slots {
		keep := len(want.slotsIn(p.set))
		ops = slices.Grow(ops, max(0, len(p.slots)-keep))
		for i := len(p.slots) - 1; i >= keep; i-- {
			if p.slots[i].IsValid() {
				k.slot = uint16(i)
				ops = append(ops, op{verb: drop, set: p.set, key: k})
			}
		}
	}
	return ops
}

// appendSlots writes the slots that differ, but empties none.
func appendSlots(ops []op, s *set, k key, have, want []netip.AddrPort) []op {
	ops = slices.Grow(ops, max(0, len(want)-len(have)))
	for i, b := range want {
		k.slot = uint16(i)
		switch {
		case i >= len(have) || !have[i].IsValid():
			ops = append(ops, op{put, s, k, value{to: b}})
		case have[i] != b:
			ops = append(ops, op{swap, s, k, value{to: b}})
		}
	}
	return ops
}

func appendMembership(ops []op, k key, have []membership, want membership) []op {
	v := put
	for _, m := range have {
		if m == want {
			return ops
		}
		if m.sameElement(want) {
			v = swap
		}
	}
	return append(ops, op{v, want.set, want.key(k), value{number: want.number, comment: want.comment}})
}

// sameElement reports whether two memberships of a frontend are one element of a set.
func (m membership) sameElement(o membership) bool { return m.set == o.set && m.source == o.source }

// key is the key of the element, given the frontend's.
func (m membership) key(k key) key {
	k.source = m.source
	return k
}

// byAge orders routes for an installation from nothing: the oldest Services are
// those that the others wait for, the API and DNS.
func byAge(a, b *vip.Route) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), a.Compare(b.Frontend))
}

// intervals are the elements of a set of networks, which must not overlap there.
func intervals(f *nft.Family, networks []netip.Prefix) []key {
	var list []netip.Prefix
	for _, n := range networks {
		if n.IsValid() && f.Has(n.Addr()) {
			list = append(list, n.Masked())
		}
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var keys []key
	if zero := anyNode(f); len(list) > 0 && list[0].Addr() != zero {
		keys = append(keys, key{addr: zero, end: true}) // as nft does
	}
	for i := 0; i < len(list); {
		keys = append(keys, key{addr: list[i].Addr()})
		end := after(list[i])
		// Networks nest or are apart, so what begins before the end is inside, and what begins at it goes on.
		for i++; i < len(list) && (!end.IsValid() || !end.Less(list[i].Addr())); i++ {
			if e := after(list[i]); !e.IsValid() || end.IsValid() && end.Less(e) {
				end = e
			}
		}
		if end.IsValid() {
			keys = append(keys, key{addr: end, end: true})
		}
	}
	return keys
}

// after is the first address after a network, invalid if there is none.
func after(n netip.Prefix) netip.Addr { return lastOf(n).Next() }

// lastOf is the last address of a network.
func lastOf(n netip.Prefix) netip.Addr {
	b := n.Addr().AsSlice()
	for i := range b {
		if network := n.Bits() - 8*i; network <= 0 {
			b[i] = 0xff
		} else if network < 8 {
			b[i] |= 0xff >> network
		}
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}
