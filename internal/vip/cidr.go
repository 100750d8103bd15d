package vip

import (
	"net/netip"
	"slices"
)

// Use is what addresses are in use for besides ClusterIPs.
type Use uint8

// The uses.
const (
	NodeAddress      Use = iota // of a Node object
	PodNetwork                  // clusterCIDR, or podCIDRs of a Node object
	ConnectedNetwork            // an address of an interface makes it
	LinkRoute                   // a route without a gateway that someone added
	EndpointAddress             // of a Service
)

// String gives the words for logs and explanations.
func (u Use) String() string {
	return [...]string{"node address", "pod network", "connected network", "connected route", "endpoint"}[u]
}

// Network is addresses that are in use, and what for.
type Network struct {
	netip.Prefix
	Use Use
}

// String gives the use and the network: pod network 10.244.0.0/16. A network of one
// address is that address.
func (n Network) String() string {
	if n.IsSingleIP() {
		return n.Use.String() + " " + n.Addr().String()
	}
	return n.Use.String() + " " + n.Prefix.String()
}

// overlaps reports whether a ServiceCIDR may contain addresses of the network. A route
// that takes in the whole range does not count: people add one to choose the interface or the
// source address for ClusterIPs.
func (n Network) overlaps(cidr netip.Prefix) bool {
	return n.Overlaps(cidr) && (n.Use != LinkRoute || n.Bits() > cidr.Bits())
}

// Overlap is a ServiceCIDR that is not enforced, and a network in use that it overlaps.
type Overlap struct {
	CIDR netip.Prefix
	With Network
}

// Overlaps returns the ServiceCIDRs that overlap networks in use, each with the first of
// these.
func Overlaps(cidrs []netip.Prefix, used []Network) []Overlap {
	var list []Overlap
	for _, c := range cidrs {
		if i := slices.IndexFunc(used, func(n Network) bool { return n.overlaps(c) }); i >= 0 {
			list = append(list, Overlap{c, used[i]})
		}
	}
	return list
}

// Enforced returns the ServiceCIDRs in which packets to addresses that no Service has are
// dropped.
func (h *Host) Enforced() []netip.Prefix {
	if !h.DropsUnused {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(h.ServiceCIDRs), func(c netip.Prefix) bool {
		return slices.ContainsFunc(h.Overlaps, func(o Overlap) bool { return o.CIDR == c })
	})
}
