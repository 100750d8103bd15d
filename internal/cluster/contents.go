package cluster

// Contents returns every object as the feed put it, and the Store's version, all of the
// same moment. It blocks writers while it copies the pointers (about a millisecond for
// 10,000 objects). It does not block readers.
func (s *Store) Contents() (version uint64, objects []Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	objects = make([]Object, 0, s.serviceCount+len(s.slices)+s.declared+s.pods.live+s.nodes.live)
	for e := range s.Services() {
		objects = append(objects, e.Service)
	}
	for _, sl := range s.slices { // as received; the slices of an Entry have resolved conditions
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

// Changes returns the number of writes so far, so that a caller can detect new ones.
func (s *Store) Changes() uint64 { return s.changes.Load() }

// MarkRestored records that the Store holds an earlier state of the cluster, which is used
// until the feed is synced.
func (s *Store) MarkRestored() { s.restored.Store(true) }

// Restored reports whether the Store was filled with an earlier state of the cluster before
// its feed started. Readers see that state while Synced is false. Restored stays true after
// the sync, so a reader that calls Synced and then Restored never gets false twice.
func (s *Store) Restored() bool { return s.restored.Load() }
