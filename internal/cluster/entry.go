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

	clashes clashes // nil for nearly all; else Slices are not what was received
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

// Size counts all endpoints, also those that are not ready.
func (e *Entry) Size() int {
	n := 0
	for _, s := range e.Slices {
		n += len(s.Endpoints)
	}
	return n
}

// ReadyEndpoint returns the ready endpoint with address a, or nil. If several
// slices have it, it is the one that is not Repeated.
func (e *Entry) ReadyEndpoint(a netip.Addr) *Endpoint {
	for _, s := range e.Slices {
		if ep := s.Endpoint(a); ep != nil && ep.Has(Ready) && !ep.Has(Repeated) {
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

// clashes holds the addresses that stand in more than one slice of a Service, and
// in how many. It is kept so that settling costs what clashes, not all endpoints.
type clashes map[netip.Addr]int32

// change notes that old became next beside the other slices; either may be nil.
func (c *clashes) change(old, next *Slice, others []*Slice) {
	for a := range next.addrsNotIn(old) {
		n := int32(1)
		for _, o := range others {
			if o.Endpoint(a) != nil {
				n++
			}
		}
		if n > 1 && *c == nil {
			*c = clashes{}
		}
		if n > 1 {
			(*c)[a] = n
		}
	}
	for a := range old.addrsNotIn(next) {
		if n := (*c)[a]; n > 2 {
			(*c)[a] = n - 1
		} else {
			delete(*c, a)
		}
	}
	if len(*c) == 0 {
		*c = nil
	}
}

// touch reports whether s lists an address that another slice lists too.
func (c clashes) touch(s *Slice) bool {
	if len(c) < len(s.Endpoints) {
		for a := range c {
			if s.Endpoint(a) != nil {
				return true
			}
		}
		return false
	}
	return slices.ContainsFunc(s.Endpoints, func(ep Endpoint) bool { return c[ep.Addr] > 0 })
}

// addrsNotIn yields the addresses that s lists and other does not; either may be nil.
func (s *Slice) addrsNotIn(other *Slice) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for i := 0; s != nil && i < len(s.Endpoints); i++ {
			a := s.Endpoints[i].Addr
			if (other == nil || other.Endpoint(a) == nil) && !yield(a) {
				return
			}
		}
	}
}

// resolve settles addresses that stand in several of the slices: among those
// with the same ports one that is not terminating goes before one that is (its pod is
// gone, and another may have the address), else the newest slice decides, then the
// one with the greater name, and in the others the endpoint is left out. Where the ports differ each
// slice speaks for its own, and only one counts the address: see Repeated.
// What was received stays as it is.
func (c clashes) resolve(received []*Slice) []*Slice {
	if len(c) == 0 {
		return received
	}
	var rank []*Slice // those that clash, the best first
	for _, s := range received {
		if c.touch(s) {
			rank = append(rank, s)
		}
	}
	slices.SortFunc(rank, func(a, b *Slice) int {
		return cmp.Or(cmp.Compare(b.Version, a.Version), compareSlices(b, a))
	})
	alive := make([]*Slice, len(rank))
	for i, s := range rank {
		alive[i] = s.withoutReplaced(rank, c)
	}
	settled := slices.Clone(received)
	for i := range rank {
		if i == 0 && alive[0] == rank[0] {
			continue
		}
		rank[i] = alive[i].without(rank[:i], c)
		at, _ := slices.BinarySearchFunc(settled, rank[i], compareSlices)
		settled[at] = rank[i]
	}
	return settled
}

// withoutReplaced returns s less terminating endpoints whose address is in another
// slice with the same ports, and not terminating there.
func (s *Slice) withoutReplaced(others []*Slice, clashing clashes) *Slice {
	replaced := func(ep Endpoint) bool {
		return ep.Has(Terminating) && clashing[ep.Addr] > 0 && slices.ContainsFunc(others, func(o *Slice) bool {
			said := o.Endpoint(ep.Addr)
			return said != nil && !said.Has(Terminating) && slices.Equal(o.Ports, s.Ports)
		})
	}
	if !slices.ContainsFunc(s.Endpoints, replaced) {
		return s
	}
	c := *s
	c.Endpoints = slices.DeleteFunc(slices.Clone(s.Endpoints), replaced)
	return &c
}

// without returns s less what better slices already say.
func (s *Slice) without(better []*Slice, clashing clashes) *Slice {
	kept := make([]Endpoint, 0, len(s.Endpoints))
	for _, ep := range s.Endpoints {
		same := false
		for i := 0; clashing[ep.Addr] > 0 && i < len(better); i++ {
			said := better[i].Endpoint(ep.Addr)
			if said == nil {
				continue
			}
			same = same || slices.Equal(better[i].Ports, s.Ports)
			if ep.Has(Ready) && said.Has(Ready) {
				ep.Conditions |= Repeated
				ep.Hostname = said.Hostname // an address has one name below its Service
			}
		}
		if !same {
			kept = append(kept, ep)
		}
	}
	c := &Slice{Key: s.Key, Service: s.Service, Version: s.Version, Ports: s.Ports, Endpoints: kept, Cluster: s.Cluster}
	c.count()
	return c
}
