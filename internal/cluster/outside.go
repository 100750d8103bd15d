package cluster

import (
	"iter"
	"net/netip"
	"slices"
)

// Outside returns the addresses at which clients outside the cluster find the
// Service: its externalIPs, then those of its load balancer, each once.
func (s *Service) Outside() []netip.Addr {
	if s == nil || s.External == nil || len(s.External.IPs)+len(s.External.LB) == 0 {
		return nil
	}
	list := make([]netip.Addr, 0, len(s.External.IPs)+len(s.External.LB))
	for _, part := range [][]netip.Addr{s.External.IPs, s.External.LB} {
		for _, a := range part {
			if !slices.Contains(list, a) {
				list = append(list, a)
			}
		}
	}
	return list
}

// OwnersOutside returns the Services that have a among their addresses outside.
func (s *Store) OwnersOutside(a netip.Addr) Owner { return Owner{s.outside.at(a)} }

// OutsideIn yields the addresses outside of all Services inside p, each once, as
// they were when it began, in no order.
func (s *Store) OutsideIn(p netip.Prefix) iter.Seq[netip.Addr] { return s.outside.inside(p) }

// HasOutsideIn reports whether any of them lies inside p.
func (s *Store) HasOutsideIn(p netip.Prefix) bool { return s.outside.within(p) }

// outsideNotIn yields the addresses outside that e has and other has not.
func (e *Entry) outsideNotIn(other *Entry) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		if e.Service == nil || e.Service.External == nil || e.Service == other.Service {
			return
		}
		others := other.Service.Outside()
		for _, a := range e.Service.Outside() {
			if !slices.Contains(others, a) && !yield(a) {
				return
			}
		}
	}
}
