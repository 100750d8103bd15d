package nftables

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// installed is what a table has for one frontend. The zero value is nothing.
type installed struct {
	in    []membership
	slots []placement
}

// membership is that a frontend is in the set of a group.
type membership struct {
	set     *set
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

// route is what a table must have for a route, with as many backends as possible
// in the slots that they have now. A nil route is nothing.
func (l *layout) route(r *vip.Route, have installed) installed {
	var want installed
	if r == nil {
		return want
	}
	comment := commentText(r.Owner.String())
	for _, g := range groupsOf(r) {
		want.in = append(want.in, membership{l.groupSet(g), comment})
		if g.forwards() {
			s := l.classSet(classOf(r))
			want.slots = []placement{{s, place(have.slotsIn(s), r.Cluster)}}
		}
	}
	return want
}

// need adds what a route needs to be made to m, and returns the pods of this node
// that may reach themselves through it.
func (l *layout) need(r *vip.Route, m made) (pods []netip.Addr) {
	for _, g := range groupsOf(r) {
		m.groups[g] = true
		if !g.forwards() {
			continue
		}
		m.classes[classOf(r)] = true
		for _, b := range r.Cluster {
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
		if l.has(a) {
			keys[key{addr: a}] = true
		}
	}
	return keys
}

// check says why a route cannot be in a table at all.
func (l *layout) check(r *vip.Route) error {
	switch {
	case r.Kind == vip.OtherPorts || r.Kind == vip.HealthCheck:
		return nil
	case !l.has(r.Addr):
		return fmt.Errorf("%v is no address of %s", r.Addr, l.name)
	case !hasPorts(byte(r.Protocol)):
		return fmt.Errorf("protocol %d is none of tcp, udp, sctp", r.Protocol)
	case r.Port == 0:
		return fmt.Errorf("port 0 is no port")
	case len(r.Local) > 0:
		return fmt.Errorf("backends of this node alone (traffic policy Local) are not built yet")
	case r.Sources != nil:
		return fmt.Errorf("source ranges are not built yet")
	case len(r.Cluster) > maxSlots:
		return fmt.Errorf("%d backends are more than %d", len(r.Cluster), maxSlots)
	}
	for i, b := range r.Cluster {
		if !l.has(b.Addr()) {
			return fmt.Errorf("backend %v has no address of %s", b.AddrPort, l.name)
		}
		if b.Port() == 0 {
			return fmt.Errorf("backend %v has port 0", b.AddrPort)
		}
		if i > 0 && r.Cluster[i-1].Compare(b.AddrPort) >= 0 {
			return fmt.Errorf("backend %v is not after %v: they must be sorted, none twice", b.AddrPort, r.Cluster[i-1].AddrPort)
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
// of the old or the new state, or are refused if one of the two refuses them.
func (l *layout) ops(f vip.Frontend, have, want installed) []op {
	k := frontendKey(f)
	var ops []op
	for _, p := range want.slots {
		ops = appendSlots(ops, p.set, k, have.slotsIn(p.set), p.slots)
	}
	for _, m := range want.in {
		ops = appendMembership(ops, k, have.in, m)
	}
	for _, m := range have.in {
		if !slices.ContainsFunc(want.in, func(w membership) bool { return w.set == m.set }) {
			ops = append(ops, op{verb: drop, set: m.set, key: k})
		}
	}
	for _, p := range have.slots {
		keep := len(want.slotsIn(p.set))
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
		if m.set == want.set {
			v = swap
		}
	}
	return append(ops, op{v, want.set, k, value{comment: want.comment}})
}

// byAge orders routes for an installation from nothing: the oldest Services are
// those that the others wait for, the API and DNS.
func byAge(a, b *vip.Route) int {
	return cmp.Or(cmp.Compare(a.Created, b.Created), a.Compare(b.Frontend))
}

// intervals are the elements of a set of networks, which must not overlap there.
func intervals(f *family, networks []netip.Prefix) []key {
	var list []netip.Prefix
	for _, n := range networks {
		if n.IsValid() && f.has(n.Addr()) {
			list = append(list, n.Masked())
		}
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var keys []key
	if zero := f.anyNode(); len(list) > 0 && list[0].Addr() != zero {
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
