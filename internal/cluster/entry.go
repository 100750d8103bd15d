package cluster

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// Entry is a Service with its endpoints. It is immutable.
type Entry struct {
	Service *Service // nil only inside the Store, while slices wait for their Service
	Slices  []*Slice // sorted by name; no endpoint twice with the same ports

	clashes int32 // pairs of slices that list the same address; then Slices are not the originals
}

// NewSlice sorts the endpoints by address, drops repeated addresses (the first
// stays) and counts. The endpoints belong to the slice afterwards.
func NewSlice(key, service Key, version uint64, ports []Port, endpoints []Endpoint) *Slice {
	byAddr := func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) }
	if !slices.IsSortedFunc(endpoints, byAddr) {
		slices.SortStableFunc(endpoints, byAddr)
	}
	endpoints = slices.CompactFunc(endpoints, func(a, b Endpoint) bool { return a.Addr == b.Addr })
	s := &Slice{Key: key, Service: service, Version: version, Ports: ports, Endpoints: endpoints}
	s.count()
	return s
}

func (s *Slice) count() {
	s.ready4, s.ready6 = 0, 0
	for i := range s.Endpoints {
		ep := &s.Endpoints[i]
		if !ep.Has(Ready) || ep.Has(Repeated) {
			continue
		}
		if ep.Addr.Is4() {
			s.ready4++
		} else {
			s.ready6++
		}
	}
}

// Endpoint returns the endpoint with address a, or nil.
func (s *Slice) Endpoint(a netip.Addr) *Endpoint {
	i, found := slices.BinarySearchFunc(s.Endpoints, a, func(ep Endpoint, a netip.Addr) int {
		return ep.Addr.Compare(a)
	})
	if !found {
		return nil
	}
	return &s.Endpoints[i]
}

// Ready counts the ready endpoints of each family, every address once.
func (e *Entry) Ready() (v4, v6 int) {
	for _, s := range e.Slices {
		v4 += int(s.ready4)
		v6 += int(s.ready6)
	}
	return v4, v6
}

// ReadyEndpoint returns the ready endpoint with address a, or nil.
func (e *Entry) ReadyEndpoint(a netip.Addr) *Endpoint {
	for _, s := range e.Slices {
		if ep := s.Endpoint(a); ep != nil && ep.Has(Ready) {
			return ep
		}
	}
	return nil
}

// Endpoints yields every endpoint with the ports it has in its slice.
func (e *Entry) Endpoints() iter.Seq2[*Endpoint, []Port] {
	return func(yield func(*Endpoint, []Port) bool) {
		for _, s := range e.Slices {
			for i := range s.Endpoints {
				if !yield(&s.Endpoints[i], s.Ports) {
					return
				}
			}
		}
	}
}

// clashesOf counts in how many of the other slices each address of sl stands that
// was not in the version of sl before. Either version may be nil.
func clashesOf(sl, before *Slice, others []*Slice) int32 {
	n := int32(0)
	for i := 0; sl != nil && i < len(sl.Endpoints); i++ {
		a := sl.Endpoints[i].Addr
		if before != nil && before.Endpoint(a) != nil {
			continue
		}
		for _, o := range others {
			if o.Endpoint(a) != nil {
				n++
			}
		}
	}
	return n
}

// resolve settles addresses that stand in several of the slices: the newest
// slice decides, then the one with the greater name. In the others the endpoint
// is left out or, if they add ports, marked Repeated. The originals stay as they are.
func resolve(originals []*Slice) []*Slice {
	rank := slices.Clone(originals)
	slices.SortFunc(rank, func(a, b *Slice) int {
		return cmp.Or(cmp.Compare(b.Version, a.Version), cmp.Compare(b.Name, a.Name))
	})
	settled := make([]*Slice, 0, len(rank))
	for i, s := range rank {
		settled = append(settled, s.without(rank[:i]))
	}
	slices.SortFunc(settled, func(a, b *Slice) int { return cmp.Compare(a.Name, b.Name) })
	return settled
}

// without returns s less what better slices already say; s itself if that is nothing.
func (s *Slice) without(better []*Slice) *Slice {
	var kept []Endpoint
	changed := false
	for _, ep := range s.Endpoints {
		for _, b := range better {
			if b.Endpoint(ep.Addr) == nil {
				continue
			}
			changed = true
			ep.Conditions |= Repeated
			if slices.Equal(b.Ports, s.Ports) {
				ep.Addr = netip.Addr{}
				break
			}
		}
		if ep.Addr.IsValid() {
			kept = append(kept, ep)
		}
	}
	if !changed {
		return s
	}
	c := &Slice{Key: s.Key, Service: s.Service, Version: s.Version, Ports: s.Ports, Endpoints: kept}
	c.count()
	return c
}
