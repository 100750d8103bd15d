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
	forward value            // in the map of frontends, if there is a verdict
	refuse  value            // in the map of what is refused, if there is a verdict
	slots   []netip.AddrPort // the backends
}

// route is what a table must have for a route, with as many backends as possible
// in the slots that they have now. A nil route is nothing.
func (l *layout) route(r *vip.Route, have []netip.AddrPort) installed {
	if r == nil {
		return installed{}
	}
	var want installed
	comment := commentText(r.Owner.String())
	if t, ok := forwarding(r); ok {
		want.forward = value{verdict: l.nameOf(t), comment: comment}
		want.slots = place(have, r.Backends)
	}
	if t, ok := refusing(r); ok {
		want.refuse = value{verdict: l.nameOf(t), comment: comment}
	}
	return want
}

// needs is what a route needs beside its own elements.
type needs struct {
	chains []target
	pods   []netip.Addr // of this node, that may reach themselves through it
}

func (l *layout) needs(r *vip.Route) needs {
	var n needs
	if c, ok := forwarding(r); ok {
		n.chains = append(n.chains, c)
		for _, b := range r.Backends {
			if b.Local {
				n.pods = append(n.pods, b.Addr())
			}
		}
	}
	if c, ok := refusing(r); ok {
		n.chains = append(n.chains, c)
	}
	return n
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
	case !l.has(r.Addr):
		return fmt.Errorf("%v is no address of %s", r.Addr, l.name)
	case l.backends[byte(r.Protocol)] == nil:
		return fmt.Errorf("protocol %d is none of tcp, udp, sctp", r.Protocol)
	case r.Port == 0:
		return fmt.Errorf("port 0 is no port")
	case len(r.Backends) > maxSlots:
		return fmt.Errorf("%d backends are more than %d", len(r.Backends), maxSlots)
	}
	for i, b := range r.Backends {
		if !l.has(b.Addr()) {
			return fmt.Errorf("backend %v has no address of %s", b.AddrPort, l.name)
		}
		if b.Port() == 0 {
			return fmt.Errorf("backend %v has port 0", b.AddrPort)
		}
		if i > 0 && r.Backends[i-1].Compare(b.AddrPort) >= 0 {
			return fmt.Errorf("backend %v is not after %v: they must be sorted, none twice", b.AddrPort, r.Backends[i-1].AddrPort)
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

// maps are the maps that a frontend is in: verdicts, refused, backends.
func (l *layout) maps(f vip.Frontend) (verdicts, refused, backends *set) {
	if f.IsNodePort() {
		return l.nodePorts, l.refusedNodePorts, l.nodeBackends[byte(f.Protocol)]
	}
	return l.frontends, l.refused, l.backendsOf(f)
}

func (l *layout) backendsOf(f vip.Frontend) *set { return l.backends[byte(f.Protocol)] }

// ops are the operations from one state of a frontend to another. They may be cut
// into transactions anywhere: after each of them, new connections go to backends
// of the old or the new state, or are refused if one of the two refuses them.
func (l *layout) ops(f vip.Frontend, have, want installed) []op {
	verdicts, refused, backends := l.maps(f)
	k := frontendKey(f)
	var ops []op
	for i, b := range want.slots {
		k.slot = uint16(i)
		switch {
		case i >= len(have.slots) || !have.slots[i].IsValid():
			ops = append(ops, op{put, backends, k, value{to: b}})
		case have.slots[i] != b:
			ops = append(ops, op{swap, backends, k, value{to: b}})
		}
	}
	k.slot = 0
	if want.refuse.verdict != "" { // before the verdict of the other map goes
		ops = appendVerdict(ops, refused, k, have.refuse, want.refuse)
	}
	ops = appendVerdict(ops, verdicts, k, have.forward, want.forward)
	if want.refuse.verdict == "" { // after the verdict of the other map came
		ops = appendVerdict(ops, refused, k, have.refuse, want.refuse)
	}
	for i := len(have.slots) - 1; i >= len(want.slots); i-- {
		if have.slots[i].IsValid() {
			k.slot = uint16(i)
			ops = append(ops, op{drop, backends, k, value{}})
		}
	}
	return ops
}

func appendVerdict(ops []op, s *set, k key, have, want value) []op {
	switch {
	case have == want:
		return ops
	case have.verdict == "":
		return append(ops, op{put, s, k, want})
	case want.verdict == "":
		return append(ops, op{drop, s, k, value{}})
	}
	return append(ops, op{swap, s, k, want})
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
