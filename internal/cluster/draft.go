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
	received []*Slice          // sorted by name
	settled  map[*Slice]*Slice // of those received, what readers see instead: see settle
	clashes  clashes
	dirty    map[netip.Addr]struct{} // addresses that clash or did, in the slices that change
	slices   int                     // changes of slices

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
	for i, sl := range e.Slices {
		if sl != d.received[i] {
			d.see(d.received[i], sl)
		}
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

// received returns the slices of e as they arrived.
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
	d.slices++
	d.touch(old)
	if old != nil {
		at, _ := slices.BinarySearchFunc(d.received, old, compareSlices)
		d.received = slices.Delete(d.received, at, at+1)
		delete(d.settled, old)
	}
	d.clashes.change(old, next, d.received)
	d.touch(next)
	if next != nil {
		at, _ := slices.BinarySearchFunc(d.received, next, compareSlices)
		d.received = slices.Insert(d.received, at, next)
	}
}

// touch notes the addresses of a slice that clash.
func (d *draft) touch(s *Slice) {
	if len(d.clashes) == 0 {
		return
	}
	for a := range s.addrs() {
		if d.clashes[a] > 0 {
			if d.dirty == nil {
				d.dirty = map[netip.Addr]struct{}{}
			}
			d.dirty[a] = struct{}{}
		}
	}
}

// touches counts what changed.
func (d *draft) touches() touches {
	t := touches{slices: d.slices}
	if d.service != d.before.Service {
		t.services = 1
	}
	return t
}

// see has readers see a slice in place of one that was received.
func (d *draft) see(received, instead *Slice) {
	if d.settled == nil {
		d.settled = map[*Slice]*Slice{}
	}
	d.settled[received] = instead
}

// shown are the slices that readers see.
func (d *draft) shown() []*Slice {
	if len(d.settled) == 0 {
		return d.received
	}
	list := slices.Clone(d.received)
	for i, s := range list {
		if instead := d.settled[s]; instead != nil {
			list[i] = instead
		}
	}
	return list
}

// settle brings the slices in line about addresses that several of them list. Every
// endpoint stays, for it is a pod of its own, but:
//
//   - Where slices with the same ports list the same pod, it moved from one to the other. The
//     newest of them is right, of one version the one with the greater name. In the others it is Superseded.
//   - Of the ready endpoints with an address, all but the first are Repeated.
//
// What was received stays as it is: a slice is copied before it is changed. Only
// addresses that changed are looked at, and only slices that change are copied.
func (d *draft) settle() {
	var copied map[*Slice]bool
	for a := range d.dirty {
		newest := d.newest(a)
		listed := false
		for _, s := range d.received {
			first, last := s.at(a)
			for at := first; at < last; at++ {
				now := s.settled(at, newest)
				if listed && now.Has(Ready) {
					now |= Repeated
				}
				listed = listed || now.Has(Ready)
				seen := cmp.Or(d.settled[s], s)
				if seen.Endpoints[at].Conditions == now {
					continue
				}
				if !copied[s] {
					if copied == nil {
						copied = map[*Slice]bool{}
					}
					seen, copied[s] = seen.clone(), true
					d.see(s, seen)
				}
				seen.Endpoints[at].Conditions = now
			}
		}
	}
	for s := range copied {
		if slices.Equal(d.settled[s].Endpoints, s.Endpoints) {
			delete(d.settled, s)
		} else {
			d.settled[s].countReady()
		}
	}
}

// settled returns what holds of an endpoint beside other slices, except for Repeated.
func (s *Slice) settled(at int, newest map[sighting]*Slice) Conditions {
	ep := &s.Endpoints[at]
	o := newest[sighting{ep.Pod, s.portsHash, s.Cluster}]
	if o != nil && o != s && slices.Equal(o.Ports, s.Ports) {
		return ep.Conditions&Additional | Superseded
	}
	return ep.Conditions &^ Repeated
}

func (s *Slice) clone() *Slice {
	c := *s
	c.Endpoints = slices.Clone(s.Endpoints)
	return &c
}

// sighting is a pod with the ports that a slice gives it. The same pod in another
// cluster is another pod.
type sighting struct {
	pod     PodID
	ports   uint32
	cluster Atom
}

// newest returns for each pod with address a the newest slice that lists it.
func (d *draft) newest(a netip.Addr) map[sighting]*Slice {
	var list map[sighting]*Slice
	for _, s := range d.received {
		for _, ep := range s.At(a) {
			if ep.Pod == 0 {
				continue
			}
			k := sighting{ep.Pod, s.portsHash, s.Cluster}
			if o := list[k]; o == nil || cmp.Or(cmp.Compare(s.Version, o.Version), compareSlices(s, o)) > 0 {
				if list == nil {
					list = map[sighting]*Slice{}
				}
				list[k] = s
			}
		}
	}
	return list
}

// publish shows readers the new Entry, then adds addresses to the index. Nothing
// goes before retire, so that what stays is never missing; and the namespace
// comes first, since a name that exists has an existing parent.
func (d *draft) publish(w *write) {
	s := w.store
	d.settle()
	d.after = &Entry{Service: d.service, Slices: d.shown(), clashes: d.clashes}
	if d.before.empty() && d.after.empty() {
		return
	}
	if !sameNames(d.before, d.after) {
		w.changed[PartNames] = true
	}
	if d.before.Service == nil && d.after.Service != nil {
		s.serviceCount++
		w.changeNamespace(d.key.Namespace, func(n *namespace) { n.services++ })
	}
	key := new(Key)
	if d.service != nil {
		key = &d.service.Key
	} else {
		*key = d.key
	}
	d.cell = s.services.put(key, d.after)
	s.byAddr.copyFor(d.after.indexed() - d.before.indexed())
	for a := range d.after.indexedNotIn(d.before) {
		s.byAddr.add(a, d.cell)
	}
	for a := range d.after.outsideNotIn(d.before) {
		s.outside.add(a, d.cell)
	}
}

// retire takes away what is no more.
func (d *draft) retire(w *write) {
	if d.cell == nil {
		return
	}
	s := w.store
	s.byAddr.copyFor(d.before.indexed() - d.after.indexed())
	for a := range d.before.indexedNotIn(d.after) {
		s.byAddr.remove(a, d.cell)
	}
	for a := range d.before.outsideNotIn(d.after) {
		s.outside.remove(a, d.cell)
	}
	if d.before.Service != nil && d.after.Service == nil {
		s.serviceCount--
		w.changeNamespace(d.key.Namespace, func(n *namespace) { n.services-- })
	}
	if d.after.empty() {
		s.services.delete(d.key) // no owner holds the cell: its last address is removed
	}
}

func (e *Entry) empty() bool { return e.Service == nil && len(e.Slices) == 0 }

// indexed counts the addresses by which the index finds e: about, for one may be in several slices.
func (e *Entry) indexed() int {
	if e.Service == nil {
		return 0
	}
	v4, v6 := e.Ready()
	return len(e.Service.ClusterIPs) + v4 + v6
}

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
			for a := range sl.readyAddrs() {
				if !was.ready(a) && !yield(a) {
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

// ready reports whether an endpoint with address a is ready in s, which may be nil.
func (s *Slice) ready(a netip.Addr) bool {
	return s != nil && slices.ContainsFunc(s.At(a), func(ep Endpoint) bool { return ep.Has(Ready) })
}
