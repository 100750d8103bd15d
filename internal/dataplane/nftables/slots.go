package nftables

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/vip"
)

// The slots of a frontend are dense: N backends are in the slots 0 to N-1, each in
// one. Which is where does not matter to packets, but each slot that changes is a
// write: so backends stay where they are, and a hole is filled from the end.

// place gives the slots of a frontend that is to have the backends want (sorted,
// none twice), given what the slots have now; the zero AddrPort is an empty slot.
// It changes as few slots as possible.
func place(have []netip.AddrPort, want []vip.Backend) []netip.AddrPort {
	return fillSlots(have, len(want), finder(want), func(i int) netip.AddrPort { return want[i].AddrPort })
}

// fillSlots is place for n of anything: find tells which of them something is, and at
// the reverse. The zero value is an empty slot.
func fillSlots[T comparable](have []T, n int, find func(T) (int, bool), at func(int) T) []T {
	var empty T
	now, placed := make([]T, n), make([]bool, n)
	for i, b := range have[:min(len(have), n)] {
		if at, ok := find(b); ok && !placed[at] {
			now[i], placed[at] = b, true
		}
	}
	next := 0
	for i := range now {
		if now[i] != empty {
			continue
		}
		for placed[next] {
			next++
		}
		now[i], placed[next] = at(next), true
	}
	return now
}

// finder returns a function that finds backends in a sorted list. It tries the one after
// the last found first: slots are mostly in that order.
func finder(sorted []vip.Backend) func(netip.AddrPort) (int, bool) {
	next := 0
	return func(b netip.AddrPort) (int, bool) {
		at, ok := next, next < len(sorted) && sorted[next].AddrPort == b
		if !ok {
			at, ok = slices.BinarySearchFunc(sorted, b, func(e vip.Backend, b netip.AddrPort) int { return e.Compare(b) })
		}
		if ok {
			next = at + 1
		}
		return at, ok
	}
}

// order says in which slots the backends of a route are, in two bytes each: slot i
// has Backends[order[i]]. A nil order is that of the backends themselves.
type order []uint16

// orderOf is the order of backends in slots.
func orderOf(slots []netip.AddrPort, backends []vip.Backend) order {
	o := make(order, len(slots))
	sorted, find := true, finder(backends)
	for i, b := range slots {
		at, _ := find(b)
		o[i] = uint16(at)
		sorted = sorted && at == i
	}
	if sorted {
		return nil
	}
	return o
}

// slots are the backends by slot.
func (o order) slots(backends []vip.Backend) []netip.AddrPort {
	slots := make([]netip.AddrPort, len(backends))
	for i := range slots {
		at := i
		if o != nil {
			at = int(o[i])
		}
		slots[i] = backends[at].AddrPort
	}
	return slots
}
