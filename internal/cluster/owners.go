package cluster

import (
	"iter"
	"net/netip"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// addresses maps addresses to their owners: which Services (or Pods) an address
// belongs to. Reads are lock-free. A write copies the few trie nodes on its path
// (3 µs, where addresses are dense 15 µs), so a reader keeps a consistent trie. A
// trie, not a hash map, because a reverse zone has inner nodes:
// 0.0.10.in-addr.arpa exists if any address of 10.0.0.0/24 does.
type addresses[V any] struct {
	trie atomic.Pointer[bart.Table[*owner[V]]]
	off  bool // it stays empty

	// The writer's: how many changes it made since publish, and, if these were
	// many, the copy of the whole trie that it changes in place.
	changes int
	copied  *bart.Table[*owner[V]]
}

// owner is one link of an immutable list: nearly always the only one.
type owner[V any] struct {
	cell  *cell[V]
	count int32 // in how many slices of the Service the address stands
	next  *owner[V]
}

func (x *addresses[V]) init() { x.trie.Store(new(bart.Table[*owner[V]])) }

func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// at returns the owners of a; nil when there are none.
func (x *addresses[V]) at(a netip.Addr) *owner[V] {
	o, _ := x.trie.Load().Lookup(a)
	return o
}

// within reports whether any address inside p has an owner.
func (x *addresses[V]) within(p netip.Prefix) bool { return x.trie.Load().OverlapsPrefix(p) }

// inside yields the addresses inside p that have an owner, in no order.
func (x *addresses[V]) inside(p netip.Prefix) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for host := range x.trie.Load().Subnets(p) {
			if !yield(host.Addr()) {
				return
			}
		}
	}
}

// add counts one more place where c owns a. Only for the writer, who calls publish
// when it is done.
func (x *addresses[V]) add(a netip.Addr, c *cell[V]) { x.change(a, c, +1) }

// copyFor starts to change in a copy, if that costs less than the paths of n more changes.
// Only for the writer.
func (x *addresses[V]) copyFor(n int) {
	if x.off {
		return
	}
	if now := x.trie.Load(); x.copied == nil && n > 0 && x.changes+n > 8+now.Size()/128 {
		x.copied = now.Clone()
	}
}

// remove takes one such place away. Only for the writer, as add.
func (x *addresses[V]) remove(a netip.Addr, c *cell[V]) { x.change(a, c, -1) }

// change shows a few changes to readers at once. When there are so many that one
// copy of everything costs no more than the paths copied so far (a first list),
// it goes on in such a copy.
func (x *addresses[V]) change(a netip.Addr, c *cell[V], delta int32) {
	if x.off {
		return
	}
	update := func(list *owner[V], _ bool) (*owner[V], bool) {
		list = list.changed(c, delta)
		return list, list == nil
	}
	if x.copyFor(1); x.copied != nil {
		x.copied.Modify(host(a), update)
		return
	}
	x.changes++
	x.trie.Store(x.trie.Load().ModifyPersist(host(a), update))
}

// publish shows all changes to readers.
func (x *addresses[V]) publish() {
	if x.copied != nil {
		x.trie.Store(x.copied)
	}
	x.changes, x.copied = 0, nil
}

// changed returns a list in which c counts delta more. Links are copied, not
// changed; a new owner comes first, so that the others need not be copied.
func (o *owner[V]) changed(c *cell[V], delta int32) *owner[V] {
	for other := o; ; other = other.next {
		if other == nil && delta > 0 {
			return &owner[V]{cell: c, count: delta, next: o}
		}
		if other == nil {
			return o
		}
		if other.cell == c {
			return o.recounted(c, delta)
		}
	}
}

// recounted is changed for a list that has c.
func (o *owner[V]) recounted(c *cell[V], delta int32) *owner[V] {
	if o.cell != c {
		return &owner[V]{cell: o.cell, count: o.count, next: o.next.recounted(c, delta)}
	}
	if o.count+delta <= 0 {
		return o.next
	}
	return &owner[V]{cell: c, count: o.count + delta, next: o.next}
}
