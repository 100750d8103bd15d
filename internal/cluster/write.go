package cluster

import "slices"

// write is one call of Put, Delete or Replace. It drafts its changes of Services first, and
// publishes them at the end, one Service at a time.
type write struct {
	store   *Store
	drafts  map[Key]*draft
	imports *write // nil if there is nothing for them
	changed [partCount]bool
}

// Put adds objects or replaces those of the same kind and key. Version is the
// newest resourceVersion among them, 0 if there is none. Readers see a Service
// and its slices that come in one call change together.
func (s *Store) Put(version uint64, objects ...Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := write{store: s}
	for _, o := range objects {
		o.put(&w)
	}
	w.publish(version)
}

// Delete removes objects. It ignores refs without an object.
func (s *Store) Delete(version uint64, refs ...Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := write{store: s}
	for _, r := range refs {
		w.delete(r)
	}
	w.publish(version)
}

// Replace makes the objects of a kind equal to a new list of that kind. It removes objects
// that are not in the list. Objects that stay are never missing in between, and neither is
// an endpoint that moved to a different slice.
func (s *Store) Replace(version uint64, kind Kind, objects []Object) {
	s.replace(version, kind, objects, func(Key) bool { return true })
}

// ReplaceIn makes the objects of a kind in one namespace equal to a new list: see Replace.
func (s *Store) ReplaceIn(version uint64, kind Kind, namespace string, objects []Object) {
	s.replace(version, kind, objects, func(k Key) bool { return k.Namespace == namespace })
}

// DeleteFunc removes the objects of a kind for which gone returns true.
func (s *Store) DeleteFunc(kind Kind, gone func(Key) bool) { s.replace(0, kind, nil, gone) }

// replace puts objects, and removes all other objects for which meant returns true.
func (s *Store) replace(version uint64, kind Kind, objects []Object, meant func(Key) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := write{store: s}
	listed := make(map[Key]struct{}, len(objects))
	for _, o := range objects {
		listed[o.Ref().Key] = struct{}{}
		o.put(&w)
	}
	for _, k := range s.keys(kind) {
		if _, ok := listed[k]; !ok && meant(k) {
			w.delete(Ref{kind, k})
		}
	}
	w.publish(version)
}

// publish shows the drafts to readers, then records the version and the counts.
func (w *write) publish(version uint64) {
	if w.imports != nil {
		w.imports.publish(version)
		w.changed[PartImports] = w.imports.changed[PartNames]
	}
	for _, d := range w.drafts {
		d.publish(w)
	}
	for _, d := range w.drafts {
		d.retire(w)
	}
	w.store.byAddr.publish()
	w.store.outside.publish()
	w.store.podAddrs.publish()
	w.store.wrote(version)
	w.store.number(version, w.changed)
	for k, d := range w.drafts { // last: a subscriber reads at once
		w.store.notify(Ref{KindService, k}, d.touches())
	}
}

// wrote records the version and the counts after a write.
func (s *Store) wrote(version uint64) {
	s.version.Store(max(version, s.version.Load()))
	s.changes.Add(1)
	s.objects[KindService].Store(int64(s.serviceCount))
	s.objects[KindSlice].Store(int64(len(s.slices)))
	s.objects[KindNamespace].Store(int64(s.declared))
	s.objects[KindPod].Store(int64(s.pods.live))
	s.objects[KindNode].Store(int64(s.nodes.live))
	s.objects[KindServiceCIDR].Store(int64(len(s.cidrs)))
	if s.imports != nil {
		s.objects[KindServiceImport].Store(int64(s.imports.serviceCount))
		s.objects[KindImportedSlice].Store(int64(len(s.imports.slices)))
	}
}

// keys returns the keys of all objects of a kind.
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
	case KindServiceCIDR:
		keys = s.cidrKeys()
	case KindServiceImport, KindImportedSlice:
		keys = s.keysOfImports(kind)
	}
	return keys
}

func (w *write) delete(r Ref) {
	switch r.Kind {
	case KindService:
		w.draft(r.Key).service = nil
	case KindSlice:
		w.deleteSlice(r.Key)
	case KindNamespace:
		w.changeNamespace(r.Key.Name, func(n *namespace) { n.declared = false })
	case KindPod:
		w.deletePod(r.Key)
	case KindNode:
		w.store.nodes.delete(r.Key)
		w.store.notify(r, touches{})
	case KindServiceCIDR:
		w.store.changeCIDR(r.Key.Name, nil)
	case KindServiceImport:
		w.imported().delete(Ref{KindService, r.Key})
	case KindImportedSlice:
		w.imported().delete(Ref{KindSlice, r.Key})
	}
}

// put does nothing for an object that is in the Store already: a new list has mostly these.
func (svc *Service) put(w *write) {
	if e := w.store.services.get(svc.Key); e != nil && e.Service == svc && w.drafts[svc.Key] == nil {
		return
	}
	w.draft(svc.Key).service = svc
}

func (sl *Slice) put(w *write) {
	old := w.store.slices[sl.Key]
	if old == sl {
		return
	}
	if old != nil && old.Service != sl.Service {
		w.draft(old.Service).change(old, nil)
		old = nil
	}
	w.draft(sl.Service).change(old, sl)
	w.store.slices[sl.Key] = sl
}

func (w *write) deleteSlice(k Key) {
	if old := w.store.slices[k]; old != nil {
		w.draft(old.Service).change(old, nil)
		delete(w.store.slices, k)
	}
}

func (n *Namespace) put(w *write) {
	w.changeNamespace(n.Name, func(n *namespace) { n.declared = true })
}

func (w *write) changeNamespace(name string, change func(*namespace)) {
	s, n := w.store, namespace{name: name}
	old := s.namespaces.get(Key{Name: name})
	if old != nil {
		n = *old
	}
	if n.declared {
		s.declared--
	}
	change(&n)
	if n.declared {
		s.declared++
	}
	exists := n.declared || n.services > 0
	if exists {
		s.namespaces.put(&Key{Name: name}, &n)
	} else {
		s.namespaces.delete(Key{Name: name})
	}
	if exists != (old != nil) {
		w.changed[PartPods] = true
	}
}

func (n *Node) put(w *write) {
	if w.store.nodes.get(Key{Name: n.Name}) == n {
		return
	}
	w.store.nodes.put(&Key{Name: n.Name}, n)
	w.store.notify(n.Ref(), touches{})
}

// put adds the new addresses before it removes the old ones, so that an address that stays
// is never missing.
func (p *Pod) put(w *write) {
	s := w.store
	old := s.pods.get(p.Key)
	if old == p {
		return
	}
	if old == nil || !slices.Equal(old.Addrs, p.Addrs) {
		w.changed[PartPods] = true
	}
	c := s.pods.put(&p.Key, p)
	for _, a := range p.Addrs {
		s.podAddrs.add(a, c)
	}
	if old != nil {
		s.removePodAddrs(old, c)
	}
}

func (w *write) deletePod(k Key) {
	s := w.store
	if old := s.pods.get(k); old != nil {
		w.changed[PartPods] = true
		s.removePodAddrs(old, s.pods.put(&old.Key, old))
		s.pods.delete(k)
	}
}

func (s *Store) removePodAddrs(p *Pod, c *cell[Pod]) {
	for _, a := range p.Addrs {
		s.podAddrs.remove(a, c)
	}
}
