package cluster

import (
	"iter"
	"net/netip"
	"slices"
)

// Entry is a Service with its endpoints. It is immutable.
type Entry struct {
	Service *Service // nil only inside the Store, while slices wait for their Service
	Slices  []*Slice // sorted by name

	// clashes is nil for most Services. Otherwise the Conditions in Slices differ from
	// the received ones: see draft.resolve.
	clashes clashes
}

// NewSlice sorts the endpoints by address and counts those that are ready. Those with
// the same address stay in the order given. The endpoints belong to the slice afterwards.
func NewSlice(key, service Key, version uint64, ports []Port, endpoints []Endpoint) *Slice {
	byAddr := func(a, b Endpoint) int { return a.Addr.Compare(b.Addr) }
	if !slices.IsSortedFunc(endpoints, byAddr) {
		slices.SortStableFunc(endpoints, byAddr)
	}
	listed := false // an endpoint before this one is ready and has its address
	for i := range endpoints {
		ep := &endpoints[i]
		ep.Conditions &^= Repeated | Superseded
		listed = listed && ep.Addr == endpoints[i-1].Addr
		if listed && ep.Has(Ready) {
			ep.Conditions |= Repeated
		}
		listed = listed || ep.Has(Ready)
	}
	s := &Slice{Key: key, Service: service, Version: version, Ports: ports, Endpoints: endpoints, portsHash: hashPorts(ports)}
	s.countReady()
	return s
}

func hashPorts(ports []Port) uint32 {
	h := newHash()
	for _, p := range ports {
		h = h.text(p.Name).byte(byte(p.Number >> 8)).byte(byte(p.Number)).byte(byte(p.Protocol))
	}
	return uint32(h)
}

func (s *Slice) countReady() {
	s.ready4, s.ready6, s.repeated = 0, 0, 0
	for i := range s.Endpoints {
		switch ep := &s.Endpoints[i]; {
		case !ep.Has(Ready):
		case ep.Has(Repeated):
			s.repeated++
		case ep.Addr.Is4():
			s.ready4++
		default:
			s.ready6++
		}
	}
}

// At returns the endpoints with address a.
func (s *Slice) At(a netip.Addr) []Endpoint {
	first, last := s.at(a)
	return s.Endpoints[first:last]
}

// at returns where the endpoints with address a begin and end.
func (s *Slice) at(a netip.Addr) (first, last int) {
	first, found := slices.BinarySearchFunc(s.Endpoints, a, func(ep Endpoint, a netip.Addr) int {
		return ep.Addr.Compare(a)
	})
	if !found {
		return 0, 0
	}
	for last = first + 1; last < len(s.Endpoints) && s.Endpoints[last].Addr == a; last++ {
	}
	return first, last
}

// addrs yields the addresses that s lists, each once; s may be nil.
func (s *Slice) addrs() iter.Seq[netip.Addr] {
	return s.addrsOf(func(*Endpoint) bool { return true })
}

// readyAddrs yields the addresses of ready endpoints, each once.
func (s *Slice) readyAddrs() iter.Seq[netip.Addr] {
	return s.addrsOf(func(ep *Endpoint) bool { return ep.Has(Ready) })
}

func (s *Slice) addrsOf(is func(*Endpoint) bool) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		var last netip.Addr
		for i := 0; s != nil && i < len(s.Endpoints); i++ {
			if ep := &s.Endpoints[i]; ep.Addr != last && is(ep) {
				if last = ep.Addr; !yield(last) {
					return
				}
			}
		}
	}
}

// Ready counts the addresses of ready endpoints in each family, each once.
func (e *Entry) Ready() (v4, v6 int) {
	for _, s := range e.Slices {
		v4 += int(s.ready4)
		v6 += int(s.ready6)
	}
	return v4, v6
}

// HasReady reports whether any endpoint is ready.
func (e *Entry) HasReady() bool {
	for _, s := range e.Slices {
		if s.ready4+s.ready6+s.repeated > 0 {
			return true
		}
	}
	return false
}

// Repeated counts the ready endpoints whose address Ready counts for an earlier one.
func (e *Entry) Repeated() int {
	n := 0
	for _, s := range e.Slices {
		n += int(s.repeated)
	}
	return n
}

// Size counts all endpoints, also those that are not ready.
func (e *Entry) Size() int {
	n := 0
	for _, s := range e.Slices {
		n += len(s.Endpoints)
	}
	return n
}

// ReadyAt yields the ready endpoints with address a, with the ports they have in
// their slice. The first is the one that Ready counts.
func (e *Entry) ReadyAt(a netip.Addr) iter.Seq2[*Endpoint, []Port] {
	return func(yield func(*Endpoint, []Port) bool) {
		for _, s := range e.Slices {
			list := s.At(a)
			for i := range list {
				if list[i].Has(Ready) && !yield(&list[i], s.Ports) {
					return
				}
			}
		}
	}
}

// ReadyEndpoint returns the first ready endpoint with address a, or nil.
func (e *Entry) ReadyEndpoint(a netip.Addr) *Endpoint {
	for ep := range e.ReadyAt(a) {
		return ep
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

// clashes counts the slices of a Service that list an address, for addresses in more than
// one slice. With it the cost of an event is that of its changes, not of all endpoints.
type clashes map[netip.Addr]int32

// change updates the counts after old became next; either may be nil. The rest are the
// Service's other slices. The cost is that of the addresses that differ, times the number of
// slices.
func (c *clashes) change(old, next *Slice, rest []*Slice) {
	if len(rest) == 0 && len(*c) == 0 { // most Services
		return
	}
	come := slices.Collect(addrsNotIn(next, old))
	listed := make([]int32, len(come)) // in how many of the rest
	for _, o := range rest {
		o.count(come, listed)
	}
	for i, a := range come {
		if listed[i] == 0 {
			continue
		}
		if *c == nil {
			*c = clashes{}
		}
		(*c)[a] = 1 + listed[i]
	}
	for a := range addrsNotIn(old, next) {
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

// addrsNotIn yields the addresses that s lists and other does not, sorted.
func addrsNotIn(s, other *Slice) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for a := range s.addrs() {
			if !other.lists(a) && !yield(a) {
				return
			}
		}
	}
}

// count adds one for each of the sorted addresses that s lists. It searches from the place of
// the address before, and doubles the distance each time. It is therefore fast whether the
// slices of a Service list ranges of addresses or mixed ones.
func (s *Slice) count(addrs []netip.Addr, in []int32) {
	rest := s.Endpoints
	for i, a := range addrs {
		far := 1
		for far < len(rest) && rest[far].Addr.Less(a) {
			far *= 2
		}
		near := rest[far/2 : min(far+1, len(rest))]
		at, found := slices.BinarySearchFunc(near, a, func(ep Endpoint, a netip.Addr) int { return ep.Addr.Compare(a) })
		if found {
			in[i]++
		}
		if rest = rest[far/2+at:]; len(rest) == 0 {
			return
		}
	}
}

// lists reports whether a is in s, which may be nil.
func (s *Slice) lists(a netip.Addr) bool { return s != nil && len(s.At(a)) > 0 }
