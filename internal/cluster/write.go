package cluster

import (
	"cmp"
	"net/netip"
	"slices"
)

// Put adds objects or replaces those of the same kind and key. Version is the
// newest resourceVersion among them, 0 if there is none.
func (s *Store) Put(version uint64, objects ...Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		o.put(s)
	}
	s.wrote(version)
}

// Delete removes objects; one that is not there is passed over.
func (s *Store) Delete(version uint64, refs ...Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range refs {
		s.delete(r)
	}
	s.wrote(version)
}

// Replace makes the objects of a kind equal to the given ones: a fresh list.
// What was there and is not listed goes; what stays is never missing in between.
func (s *Store) Replace(version uint64, kind Kind, objects []Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	listed := make(map[Key]struct{}, len(objects))
	for _, o := range objects {
		listed[o.Ref().Key] = struct{}{}
		o.put(s)
	}
	for _, k := range s.keys(kind) {
		if _, ok := listed[k]; !ok {
			s.delete(Ref{kind, k})
		}
	}
	s.wrote(version)
}

// wrote notes the version and the counts after a write.
func (s *Store) wrote(version uint64) {
	s.version.Store(max(version, s.version.Load()))
	s.objects[KindService].Store(int64(s.serviceCount))
	s.objects[KindSlice].Store(int64(len(s.slices)))
	s.objects[KindNamespace].Store(int64(s.namespaces.live))
	s.objects[KindPod].Store(int64(s.pods.live))
	s.objects[KindNode].Store(int64(s.nodes.live))
}

// keys lists what the Store holds of a kind.
func (s *Store) keys(kind Kind) []Key {
	var keys []Key
	switch kind {
	case KindService:
		for e := range s.Services() {
			keys = append(keys, e.Service.Key)
		}
	case KindSlice:
		for k := range s.slices {
			keys = append(keys, k)
		}
	case KindNamespace:
		for n := range s.namespaces.all() {
			keys = append(keys, Key{Name: n.name})
		}
	case KindPod:
		for p := range s.pods.all() {
			keys = append(keys, p.Key)
		}
	case KindNode:
		for n := range s.nodes.all() {
			keys = append(keys, Key{Name: n.Name})
		}
	}
	return keys
}

func (s *Store) delete(r Ref) {
	switch r.Kind {
	case KindService:
		s.deleteService(r.Key)
	case KindSlice:
		s.deleteSlice(r.Key)
	case KindNamespace:
		s.changeNamespace(r.Key.Name, func(n *namespace) { n.declared = false })
	case KindPod:
		s.deletePod(r.Key)
	case KindNode:
		s.nodes.delete(r.Key)
	}
}

func (n *Namespace) put(s *Store) {
	s.changeNamespace(n.Name, func(n *namespace) { n.declared = true })
}

func (s *Store) changeNamespace(name string, change func(*namespace)) {
	n := namespace{name: name}
	if old := s.namespaces.get(Key{Name: name}); old != nil {
		n = *old
	}
	change(&n)
	if n.declared || n.services > 0 {
		s.namespaces.put(Key{Name: name}, &n)
	} else {
		s.namespaces.delete(Key{Name: name})
	}
}

func (n *Node) put(s *Store) { s.nodes.put(Key{Name: n.Name}, n) }

func (p *Pod) put(s *Store) {
	s.deletePod(p.Key)
	c := s.pods.put(p.Key, p)
	for _, a := range p.Addrs {
		s.podAddrs.add(a, c)
	}
}

func (s *Store) deletePod(k Key) {
	old := s.pods.get(k)
	if old == nil {
		return
	}
	c := s.pods.put(k, old)
	for _, a := range old.Addrs {
		s.podAddrs.remove(a, c)
	}
	s.pods.delete(k)
}

// entry returns the Entry of k as it is now; never nil.
func (s *Store) entry(k Key) *Entry {
	if e := s.services.get(k); e != nil {
		return e
	}
	return &Entry{}
}

func (svc *Service) put(s *Store) {
	old := s.entry(svc.Key)
	next := *old
	next.Service = svc
	c := s.services.put(svc.Key, &next)
	for _, a := range svc.ClusterIPs {
		s.byAddr.add(a, c)
	}
	if old.Service != nil {
		for _, a := range old.Service.ClusterIPs {
			s.byAddr.remove(a, c)
		}
		return
	}
	s.serviceCount++
	s.changeNamespace(svc.Namespace, func(n *namespace) { n.services++ })
	for _, sl := range s.received(old) {
		s.indexSlice(nil, sl, c)
	}
}

func (s *Store) deleteService(k Key) {
	old := s.entry(k)
	if old.Service == nil {
		return
	}
	next := *old
	next.Service = nil
	c := s.services.put(k, &next)
	for _, a := range old.Service.ClusterIPs {
		s.byAddr.remove(a, c)
	}
	for _, sl := range s.received(old) {
		s.indexSlice(sl, nil, c)
	}
	s.serviceCount--
	s.changeNamespace(k.Namespace, func(n *namespace) { n.services-- })
	if len(next.Slices) == 0 {
		s.services.delete(k)
	}
}

func (sl *Slice) put(s *Store) {
	old := s.slices[sl.Key]
	if old != nil && old.Service != sl.Service {
		s.changeSlice(old.Service, old, nil)
		old = nil
	}
	s.changeSlice(sl.Service, old, sl)
	s.slices[sl.Key] = sl
}

func (s *Store) deleteSlice(k Key) {
	if old := s.slices[k]; old != nil {
		s.changeSlice(old.Service, old, nil)
		delete(s.slices, k)
	}
}

// received returns the slices of e as they arrived, before resolve.
func (s *Store) received(e *Entry) []*Slice {
	if e.clashes == 0 {
		return e.Slices
	}
	originals := make([]*Slice, len(e.Slices))
	for i, sl := range e.Slices {
		originals[i] = s.slices[sl.Key]
	}
	return originals
}

// changeSlice replaces one slice of a Service; old or next may be nil. Unless two
// slices clash, the cost is that of what changed, times the number of slices.
func (s *Store) changeSlice(service Key, old, next *Slice) {
	e := s.entry(service)
	all := slices.DeleteFunc(slices.Clone(s.received(e)), func(sl *Slice) bool {
		return old != nil && sl.Key == old.Key
	})
	clashes := e.clashes + clashesOf(next, old, all) - clashesOf(old, next, all)
	if next != nil {
		at, _ := slices.BinarySearchFunc(all, next.Name, func(sl *Slice, name string) int {
			return cmp.Compare(sl.Name, name)
		})
		all = slices.Insert(all, at, next)
	}
	if e.Service == nil && len(all) == 0 {
		s.services.delete(service)
		return
	}
	if clashes > 0 {
		all = resolve(all)
	}
	c := s.services.put(service, &Entry{Service: e.Service, Slices: slices.Clip(all), clashes: clashes})
	if e.Service != nil {
		s.indexSlice(old, next, c)
	}
}

// indexSlice brings the address index from one version of a slice to the next.
// Additions go first, so that an address which stays is never missing.
func (s *Store) indexSlice(old, next *Slice, c *cell[Entry]) {
	for a := range next.readyNotIn(old) {
		s.byAddr.add(a, c)
	}
	for a := range old.readyNotIn(next) {
		s.byAddr.remove(a, c)
	}
}

// readyNotIn yields the ready addresses of sl that are not ready in other.
func (sl *Slice) readyNotIn(other *Slice) func(func(netip.Addr) bool) {
	return func(yield func(netip.Addr) bool) {
		if sl == nil {
			return
		}
		for i := range sl.Endpoints {
			ep := &sl.Endpoints[i]
			if !ep.Has(Ready) {
				continue
			}
			if other != nil {
				if o := other.Endpoint(ep.Addr); o != nil && o.Has(Ready) {
					continue
				}
			}
			if !yield(ep.Addr) {
				return
			}
		}
	}
}
