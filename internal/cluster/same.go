package cluster

import "reflect"

// Same returns the object that the Store holds if it says what o says, else o. A
// feed that gathers a fresh list asks it for every object: what did not change,
// nearly everything, is then in memory once, and putting it costs nothing.
func (s *Store) Same(o Object) Object {
	if held := s.held(o); held != nil && reflect.DeepEqual(held, o) {
		return held
	}
	return o
}

// held returns the object of that kind and key as it was put, or nil.
func (s *Store) held(o Object) Object {
	switch o := o.(type) { // of an import it is a wrapper that the Store does not keep
	case *Service:
		if e := s.services.get(o.Key); e != nil && e.Service != nil {
			return e.Service
		}
	case *Slice:
		s.mu.Lock()
		defer s.mu.Unlock()
		if held := s.slices[o.Key]; held != nil && held.Version == o.Version {
			return held
		}
	case *Pod:
		if p := s.pods.get(o.Key); p != nil {
			return p
		}
	case *Node:
		if n := s.nodes.get(Key{Name: o.Name}); n != nil {
			return n
		}
	}
	return nil
}
