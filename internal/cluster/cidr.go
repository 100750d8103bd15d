package cluster

import (
	"maps"
	"net/netip"
	"slices"
)

// ServiceCIDR is a range from which ClusterIPs are allocated (KEP-1880).
type ServiceCIDR struct {
	Name  string
	CIDRs []netip.Prefix // at most one of each family
}

// Ref implements Object.
func (c *ServiceCIDR) Ref() Ref { return Ref{KindServiceCIDR, Key{Name: c.Name}} }

func (c *ServiceCIDR) put(w *write) { w.store.changeCIDR(c.Name, c) }

// changeCIDR replaces one range; nil removes it. There are few ranges, so every change
// makes a new list for readers.
func (s *Store) changeCIDR(name string, c *ServiceCIDR) {
	if c == nil && s.cidrs[name] == nil {
		return
	}
	if c == nil {
		delete(s.cidrs, name)
	} else {
		s.cidrs[name] = c
	}
	var all []netip.Prefix
	for _, one := range s.cidrs {
		all = append(all, one.CIDRs...)
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	all = slices.Compact(all)
	s.serviceCIDRs.Store(&all)
	s.notify(Ref{KindServiceCIDR, Key{Name: name}}, touches{})
}

// ServiceCIDRs returns the ranges from which ClusterIPs are allocated, sorted, each once.
// Callers must not change the list.
func (s *Store) ServiceCIDRs() []netip.Prefix {
	if all := s.serviceCIDRs.Load(); all != nil {
		return *all
	}
	return nil
}

func (s *Store) cidrKeys() []Key {
	var keys []Key
	for name := range maps.Keys(s.cidrs) {
		keys = append(keys, Key{Name: name})
	}
	return keys
}
