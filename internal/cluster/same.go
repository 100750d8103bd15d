package cluster

import "reflect"

// Same returns the object that the Store holds if it equals o, else o. A feed calls it for
// every object of a new list. Objects that did not change, nearly all, are then in memory
// once, and putting them costs nothing.
func (s *Store) Same(o Object) Object {
	if held := s.held(o); held != nil && reflect.DeepEqual(held, o) {
		return held
	}
	return o
}

// held returns the object of that kind and key as it was put, or nil.
func (s *Store) held(o Object) Object {
	switch o := o.(type) { // the Store does not keep the wrapper of an import
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
