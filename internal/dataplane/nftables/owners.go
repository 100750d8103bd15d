package nftables

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/vip"
)

// ownerKey is whose clients are remembered together.
type ownerKey struct {
	vip.Owner
	protocol byte
}

// owner is what a table has for an Owner whose frontends have affinity.
type owner struct {
	ownerKey
	number uint16
	last   uint16 // the number that was given to a backend last
	routes int    // how many want it
	pods   map[netip.AddrPort]*pod
	have   remembered
}

// pod is one backend of an owner.
type pod struct {
	number uint16
	wanted [2]int // by how many routes, by set
}

// remembered is the state of an owner in the kernel.
type remembered struct {
	backends [2]map[uint16]netip.AddrPort // by number, by set
	slots    map[class][]uint16           // numbers of backends; 0 is an empty slot
}

func newRemembered() remembered {
	return remembered{[2]map[uint16]netip.AddrPort{{}, {}}, map[class][]uint16{}}
}

// owners are those of a table, by key and by number.
type owners struct {
	byKey    map[ownerKey]*owner
	byNumber map[uint16]*owner
	last     map[uint16]uint16 // the last number that a backend had, of owners that are gone
	most     int               // how many there can be
	without  map[ownerKey]int  // those that got no number, by how many routes
}

func newOwners(most int) owners {
	return owners{map[ownerKey]*owner{}, map[uint16]*owner{}, map[uint16]uint16{}, most, map[ownerKey]int{}}
}

func keyOf(r *vip.Route) ownerKey { return ownerKey{r.Owner, byte(r.Protocol)} }

// claim gives an Owner a number, if it has none: that from before, or else one that
// follows from its name, so that the same table mostly has the same numbers. It is nil if
// all numbers are taken.
func (o owners) claim(k ownerKey, before uint16, known bool) *owner {
	if w := o.byKey[k]; w != nil {
		return w
	}
	if len(o.byNumber) >= o.most {
		return nil
	}
	if o.byNumber[before] != nil {
		known = false
	}
	w := &owner{ownerKey: k, number: before, pods: map[netip.AddrPort]*pod{}, have: newRemembered()}
	if !known {
		h := fnv.New32a()
		fmt.Fprintf(h, "%v/%d", k.Owner, k.protocol)
		step := uint16(h.Sum32()>>16) | 1 // odd, so that it meets each number
		for w.number = uint16(h.Sum32() ^ h.Sum32()>>16); o.byNumber[w.number] != nil; w.number += step {
		}
	}
	w.last = o.last[w.number]
	o.byKey[k], o.byNumber[w.number] = w, w
	return w
}

// release forgets an Owner that nobody wants.
func (o owners) release(w *owner) {
	delete(o.byKey, w.ownerKey)
	delete(o.byNumber, w.number)
	o.last[w.number] = w.last
}

// use counts the backends of a route n times.
func (w *owner) use(r *vip.Route, n int) {
	w.routes += n
	g, _ := forwarding(r)
	for _, s := range sets {
		if !g.leadsTo(s) {
			continue
		}
		for _, b := range r.Backends(s) {
			at := w.pods[b.AddrPort]
			if at == nil {
				at = &pod{}
				w.pods[b.AddrPort] = at
			}
			at.wanted[s] += n
		}
	}
}

// adopt takes over what the kernel has for the number of an owner whose backends are
// counted already.
func (w *owner) adopt(have remembered) {
	w.have = have
	taken := map[uint16]bool{}
	for _, s := range sets {
		for _, n := range slices.Sorted(maps.Keys(have.backends[s])) {
			w.last = max(w.last, n)
			if p := w.pods[have.backends[s][n]]; p != nil && p.number == 0 && !taken[n] {
				p.number, taken[n] = n, true
			}
		}
	}
}

// settle gives numbers to new backends, forgets those that nobody wants, and returns
// what the kernel must have.
func (w *owner) settle() remembered {
	want := newRemembered()
	addrs := slices.SortedFunc(maps.Keys(w.pods), netip.AddrPort.Compare)
	if len(addrs) > maxSticky { // then those of this node must be among the first
		slices.SortStableFunc(addrs, func(a, b netip.AddrPort) int {
			return cmp.Compare(min(1, w.pods[b].wanted[vip.Local]), min(1, w.pods[a].wanted[vip.Local]))
		})
	}
	used := map[uint16]bool{}
	for _, a := range addrs {
		used[w.pods[a].number] = true
	}
	for _, a := range addrs {
		p := w.pods[a]
		if p.wanted == [2]int{} {
			delete(w.pods, a)
			continue
		}
		if p.number == 0 && len(used) <= maxSticky {
			p.number = w.next(used)
		}
		for s, n := range p.wanted {
			if n > 0 && p.number != 0 {
				want.backends[s][p.number] = a
			}
		}
	}
	for _, s := range sets {
		if numbers := slices.Sorted(maps.Keys(want.backends[s])); len(numbers) > 0 {
			c := class{path: path{set: s}, affinity: true, size: sizeFor(len(numbers))}
			have := w.have.slots[c]
			want.slots[c] = fillSlots(have, len(numbers), func(n uint16) (int, bool) { return slices.BinarySearch(numbers, n) },
				func(i int) uint16 { return numbers[i] })
		}
	}
	return want
}

// next is the number after the last that is free: the longer ago one was in use, the
// fewer clients are remembered to have it.
func (w *owner) next(used map[uint16]bool) uint16 {
	for {
		if w.last++; w.last > maxSticky {
			w.last = 1
		}
		if !used[w.last] {
			used[w.last] = true
			return w.last
		}
	}
}

// ownerOps are the operations from what the kernel has for an Owner to what it must
// have: those that come before its frontends change, and those that come after.
func (l *layout) ownerOps(w *owner, want remembered) (first, last []op) {
	for _, s := range sets {
		have, now := w.have.backends[s], want.backends[s]
		for _, n := range slices.Sorted(maps.Keys(now)) {
			k := key{number: backendNumber(w.number, n)}
			if a, there := have[n]; !there {
				first = append(first, op{put, l.backends[s], k, value{to: now[n]}})
			} else if a != now[n] {
				first = append(first, op{swap, l.backends[s], k, value{to: now[n]}})
			}
		}
	}
	for _, c := range sortedClasses(want.slots) {
		first = w.appendSlots(first, l.classSet(c), w.have.slots[c], want.slots[c])
	}
	for _, c := range sortedClasses(w.have.slots) {
		for i, n := range slices.Backward(w.have.slots[c]) {
			if n != 0 && i >= len(want.slots[c]) {
				last = append(last, op{verb: drop, set: l.classSet(c), key: key{number: ownerNumber(w.number, 0), slot: uint16(i)}})
			}
		}
	}
	for _, s := range sets {
		for _, n := range slices.Sorted(maps.Keys(w.have.backends[s])) {
			if _, there := want.backends[s][n]; !there {
				last = append(last, op{verb: drop, set: l.backends[s], key: key{number: backendNumber(w.number, n)}})
			}
		}
	}
	return first, last
}

func (w *owner) appendSlots(ops []op, s *set, have, want []uint16) []op {
	for i, n := range want {
		k, v := key{number: ownerNumber(w.number, 0), slot: uint16(i)}, value{number: backendNumber(w.number, n)}
		switch {
		case i >= len(have) || have[i] == 0:
			ops = append(ops, op{put, s, k, v})
		case have[i] != n:
			ops = append(ops, op{swap, s, k, v})
		}
	}
	return ops
}

func sortedClasses(slots map[class][]uint16) []class {
	return slices.SortedFunc(maps.Keys(slots), func(a, b class) int { return cmp.Or(cmp.Compare(a.set, b.set), cmp.Compare(a.size, b.size)) })
}
