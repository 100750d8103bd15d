package cluster

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// draft is what becomes of one Service and its slices in one write. All of the
// write's changes come together in it before readers see any.
type draft struct {
	key      Key
	before   *Entry // never nil
	service  *Service
	received []*Slice // sorted by name, before resolve
	clashes  clashes

	after *Entry
	cell  *cell[Entry] // nil if there was nothing before and is nothing after
}

// draft returns this write's draft of the Service k. It must be asked for before
// Store.slices is changed for a slice of k: received looks there.
func (w *write) draft(k Key) *draft {
	if d := w.drafts[k]; d != nil {
		return d
	}
	e := w.store.entry(k)
	d := &draft{
		key:      k,
		before:   e,
		service:  e.Service,
		received: slices.Clone(w.store.received(e)),
		clashes:  maps.Clone(e.clashes),
	}
	if w.drafts == nil {
		w.drafts = map[Key]*draft{}
	}
	w.drafts[k] = d
	return d
}

// entry returns the Entry of k as it is now; never nil.
func (s *Store) entry(k Key) *Entry {
	if e := s.services.get(k); e != nil {
		return e
	}
	return &Entry{}
}

// received returns the slices of e as they arrived, before resolve.
func (s *Store) received(e *Entry) []*Slice {
	if len(e.clashes) == 0 {
		return e.Slices
	}
	originals := make([]*Slice, len(e.Slices))
	for i, sl := range e.Slices {
		originals[i] = s.slices[sl.Key]
	}
	return originals
}

func compareSlices(a, b *Slice) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
}

// change replaces one version of a slice by the next; either may be nil. The
// cost is that of what changed, times the number of slices.
func (d *draft) change(old, next *Slice) {
	if old != nil {
		at, _ := slices.BinarySearchFunc(d.received, old, compareSlices)
		d.received = slices.Delete(d.received, at, at+1)
	}
	d.clashes.change(old, next, d.received)
	if next != nil {
		at, _ := slices.BinarySearchFunc(d.received, next, compareSlices)
		d.received = slices.Insert(d.received, at, next)
	}
}

// publish shows readers the new Entry, then adds addresses to the index. Nothing
// goes before retire, so that what stays is never missing; and the namespace
// comes first, since a name that exists has an existing parent.
func (d *draft) publish(s *Store) {
	d.after = &Entry{Service: d.service, Slices: d.clashes.resolve(d.received), clashes: d.clashes}
	if d.before.empty() && d.after.empty() {
		return
	}
	if d.before.Service == nil && d.after.Service != nil {
		s.serviceCount++
		s.changeNamespace(d.key.Namespace, func(n *namespace) { n.services++ })
	}
	key := new(Key)
	if d.service != nil {
		key = &d.service.Key
	} else {
		*key = d.key
	}
	d.cell = s.services.put(key, d.after)
	for a := range d.after.indexedNotIn(d.before) {
		s.byAddr.add(a, d.cell)
	}
	for a := range d.after.outsideNotIn(d.before) {
		s.outside.add(a, d.cell)
	}
}

// retire takes away what is no more.
func (d *draft) retire(s *Store) {
	if d.cell == nil {
		return
	}
	for a := range d.before.indexedNotIn(d.after) {
		s.byAddr.remove(a, d.cell)
	}
	for a := range d.before.outsideNotIn(d.after) {
		s.outside.remove(a, d.cell)
	}
	if d.before.Service != nil && d.after.Service == nil {
		s.serviceCount--
		s.changeNamespace(d.key.Namespace, func(n *namespace) { n.services-- })
	}
	if d.after.empty() {
		s.services.delete(d.key) // no owner holds the cell: its last address is removed
	}
}

func (e *Entry) empty() bool { return e.Service == nil && len(e.Slices) == 0 }

// indexedNotIn yields the addresses by which the index finds e and not other,
// once for each slice that has them. Slices that wait for their Service have none.
func (e *Entry) indexedNotIn(other *Entry) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		if e.Service == nil {
			return
		}
		var ips []netip.Addr
		var rest []*Slice
		if other.Service != nil {
			ips, rest = other.Service.ClusterIPs, other.Slices
		}
		for i, a := range e.Service.ClusterIPs {
			if !slices.Contains(ips, a) && slices.Index(e.Service.ClusterIPs, a) == i && !yield(a) {
				return
			}
		}
		for _, sl := range e.Slices {
			var was *Slice
			if was, rest = match(sl, rest); was == sl {
				continue
			}
			for i := range sl.Endpoints {
				if ep := &sl.Endpoints[i]; ep.Has(Ready) && !was.ready(ep.Addr) && !yield(ep.Addr) {
					return
				}
			}
		}
	}
}

// match finds the other version of sl in a sorted list, and what follows there.
func match(sl *Slice, list []*Slice) (*Slice, []*Slice) {
	for len(list) > 0 && compareSlices(list[0], sl) < 0 {
		list = list[1:]
	}
	if len(list) > 0 && list[0].Key == sl.Key {
		return list[0], list[1:]
	}
	return nil, list
}

// ready reports whether a is ready in s, which may be nil.
func (s *Slice) ready(a netip.Addr) bool {
	if s == nil {
		return false
	}
	ep := s.Endpoint(a)
	return ep != nil && ep.Has(Ready)
}
