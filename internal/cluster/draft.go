package cluster

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
)

// draft is the new state of one Service and its slices in one write. It collects all changes
// of the write before readers see any of them.
type draft struct {
	key      Key
	before   *Entry // never nil
	service  *Service
	received []*Slice          // sorted by name
	resolved map[*Slice]*Slice // by received slice: what readers see in its place, see resolve
	clashes  clashes
	dirty    map[netip.Addr]struct{} // addresses that clash or did, in the slices that change
	slices   int                     // changes of slices

	after *Entry
	cell  *cell[Entry] // nil if there was nothing before and is nothing after
}

// draft returns this write's draft of the Service k. Callers must get it before they change
// Store.slices for a slice of k, because received reads that.
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

// entry returns the current Entry of k; never nil.
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
		delete(d.resolved, old)
	}
	d.clashes.change(old, next, d.received)
	d.touch(next)
	if next != nil {
		at, _ := slices.BinarySearchFunc(d.received, next, compareSlices)
		d.received = slices.Insert(d.received, at, next)
	}
}

// touch records the addresses of a slice that clash.
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

// see shows readers a slice in place of a received one.
func (d *draft) see(received, instead *Slice) {
	if d.resolved == nil {
		d.resolved = map[*Slice]*Slice{}
	}
	d.resolved[received] = instead
}

// shown returns the slices that readers see.
func (d *draft) shown() []*Slice {
	if len(d.resolved) == 0 {
		return d.received
	}
	list := slices.Clone(d.received)
	for i, s := range list {
		if instead := d.resolved[s]; instead != nil {
			list[i] = instead
		}
	}
	return list
}

// resolve decides about addresses that several slices list. It keeps every endpoint, because
// each is a pod of its own, but changes conditions:
//
//   - If slices with the same ports list the same pod, the pod moved from one to the other.
//     The newest slice is right; of the same version, the one with the greater name. In all
//     other slices the pod is Superseded.
//   - Of the ready endpoints with an address, all but the first are Repeated.
//
// Received slices do not change: a slice is copied first. The cost is that of the addresses
// that changed and of the slices that list them.
func (d *draft) resolve() {
	var copied map[*Slice]bool
	for a := range d.dirty {
		newest := d.newest(a)
		listed := false
		for _, s := range d.received {
			first, last := s.at(a)
			for at := first; at < last; at++ {
				now := s.resolved(at, newest)
				if listed && now.Has(Ready) {
					now |= Repeated
				}
				listed = listed || now.Has(Ready)
				seen := cmp.Or(d.resolved[s], s)
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
		if slices.Equal(d.resolved[s].Endpoints, s.Endpoints) {
			delete(d.resolved, s)
		} else {
			d.resolved[s].countReady()
		}
	}
}

// resolved returns the conditions of an endpoint beside other slices, except for Repeated.
func (s *Slice) resolved(at int, newest map[sighting]*Slice) Conditions {
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

// sighting is a pod with the ports that a slice gives it. Pods with the same name in two
// clusters are two pods.
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

// publish shows readers the new Entry, then adds addresses to the index. Only retire removes
// anything, so an address that stays is never missing. The namespace comes first, because
// an existing name has an existing parent.
func (d *draft) publish(w *write) {
	s := w.store
	d.resolve()
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

// retire removes what the new state does not have.
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

// indexed estimates the number of addresses by which the index finds e: an address may be in
// several slices.
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

// match returns the other version of sl in a sorted list, and the rest of the list.
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
