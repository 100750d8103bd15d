package cluster

// Contents returns every object as the feed put it, and the Store's version: one
// moment of the whole. It holds up writers while it copies the pointers (about a
// millisecond for 10,000 objects), and readers not at all.
func (s *Store) Contents() (version uint64, objects []Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects = make([]Object, 0, s.serviceCount+len(s.slices)+s.declared+s.pods.live+s.nodes.live)
	for e := range s.Services() {
		objects = append(objects, e.Service)
	}
	for _, sl := range s.slices { // not those of the Entries, which are settled
		objects = append(objects, sl)
	}
	for n := range s.namespaces.all() {
		if n.declared {
			objects = append(objects, &Namespace{Name: n.name})
		}
	}
	for p := range s.pods.all() {
		objects = append(objects, p)
	}
	for n := range s.nodes.all() {
		objects = append(objects, n)
	}
	for _, c := range s.cidrs {
		objects = append(objects, c)
	}
	return s.version.Load(), append(objects, s.importedContents()...)
}

// Changes counts the writes so far: it tells whether there was any since.
func (s *Store) Changes() uint64 { return s.changes.Load() }

// MarkRestored says that the Store holds an earlier state of the cluster, to be
// used until the feed is synced.
func (s *Store) MarkRestored() { s.restored.Store(true) }

// Restored reports whether the Store was filled with an earlier state of the
// cluster before its feed began: that is what readers see as long as Synced is
// false. It stays true, so that a reader who asked Synced first never finds neither.
func (s *Store) Restored() bool { return s.restored.Load() }
