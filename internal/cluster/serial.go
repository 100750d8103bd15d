package cluster

import (
	"reflect"
	"slices"
)

// Part is a part of the content of a Store that has a serial number.
type Part uint8

// The parts of a Store's content.
const (
	PartNames   Part = iota // Services with their ready endpoints
	PartPods                // addresses of pods, and which namespaces exist
	PartImports             // ServiceImports with their ready endpoints
	partCount
)

// serials numbers the changes of the parts. Only a writer that holds the Store's lock changes
// it.
type serials struct {
	last   uint64 // the highest of all parts
	offset uint64 // what is added to a resourceVersion: see Store.Rewind
}

// Serial returns the number of the last change of these parts. It rises with each
// change of what they say, stays with any other write, and never falls. It is the
// resourceVersion of the change, so processes that watch the same API agree, unless a
// change has none or the API was restored.
func (s *Store) Serial(parts ...Part) uint64 {
	serial := uint64(0)
	for _, p := range parts {
		serial = max(serial, s.parts[p].Load())
	}
	return serial
}

// Rewind records that the API was restored from a backup and continues at a lower version.
// Later versions count from there, and serials continue to rise.
func (s *Store) Rewind(version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version.Store(version)
	s.imports.version.Store(version)
	s.serials.offset = 0
	if s.serials.last > version {
		s.serials.offset = s.serials.last - version
	}
}

// number sets the next serial of the parts that a write changed. Readers see the change
// already, so the contents that they read are never older than a new serial.
func (s *Store) number(version uint64, changed [partCount]bool) {
	if changed == ([partCount]bool{}) {
		return
	}
	if version == 0 {
		version = s.version.Load()
	}
	s.serials.last = max(s.serials.last+1, version+s.serials.offset)
	for p, is := range changed {
		if is {
			s.parts[p].Store(s.serials.last)
		}
	}
}

// Alike reports whether two Services are equal except for their versions.
func (s *Service) Alike(o *Service) bool {
	if s == o {
		return true
	}
	was := *s
	was.Version = o.Version
	return reflect.DeepEqual(&was, o)
}

// sameNames reports whether two states of a Service give the same names and records.
func sameNames(a, b *Entry) bool {
	if a.Service == nil || b.Service == nil {
		return a.Service == b.Service
	}
	if !a.Service.Alike(b.Service) {
		return false
	}
	for x, y := a.Slices, b.Slices; ; x, y = x[1:], y[1:] {
		x, y = fromReady(x), fromReady(y)
		if len(x) == 0 || len(y) == 0 {
			return len(x) == len(y)
		}
		if x[0] != y[0] && !sameReady(x[0], y[0]) {
			return false
		}
	}
}

// fromReady drops slices without ready endpoints from the beginning of a list.
func fromReady(list []*Slice) []*Slice {
	for len(list) > 0 && list[0].ready4+list[0].ready6+list[0].repeated == 0 {
		list = list[1:]
	}
	return list
}

// sameReady compares the names of the ready endpoints of two slices.
func sameReady(a, b *Slice) bool {
	if a.Cluster != b.Cluster || !slices.Equal(a.Ports, b.Ports) {
		return false
	}
	i := 0
	for _, ep := range a.Endpoints {
		if !ep.Has(Ready) {
			continue
		}
		for i < len(b.Endpoints) && !b.Endpoints[i].Has(Ready) {
			i++
		}
		if i == len(b.Endpoints) {
			return false
		}
		if o := &b.Endpoints[i]; o.Addr != ep.Addr || o.Hostname != ep.Hostname || o.Zone != ep.Zone {
			return false
		}
		i++
	}
	return !slices.ContainsFunc(b.Endpoints[i:], func(ep Endpoint) bool { return ep.Has(Ready) })
}
