package node

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Network is a network that the machine reaches without a gateway.
type Network struct {
	netip.Prefix
	Added bool // the network comes from an added route, not from an address of an interface
}

// loopbackIndex is the index of the interface lo in every network namespace.
const loopbackIndex = 1

// connected reads the networks that the main table reaches without a gateway, except
// through the interface virtual.
func connected(virtual int) ([]Network, error) {
	var list []Network
	var err error
	for range 3 { // a concurrent change interrupts the dump
		list = nil
		err = netlink.RouteListFilteredIter(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if isConnected(&r) && r.LinkIndex != virtual {
				list = append(list, networkOf(&r))
			}
			return true
		})
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading this machine's routes: %w", err)
	}
	slices.SortFunc(list, Network.compare)
	return slices.CompactFunc(list, func(a, b Network) bool { return a.Prefix == b.Prefix }), nil
}

// compare orders networks by prefix; networks of addresses come before added ones.
func (n Network) compare(o Network) int {
	switch c := n.Prefix.Compare(o.Prefix); {
	case c != 0 || n.Added == o.Added:
		return c
	case n.Added:
		return 1
	}
	return -1
}

// isConnected reports whether a route reaches a network of global addresses without a gateway.
func isConnected(r *netlink.Route) bool {
	if r.Table != unix.RT_TABLE_MAIN || r.Type != unix.RTN_UNICAST || r.Gw != nil || r.Via != nil || len(r.MultiPath) > 0 {
		return false
	}
	if r.LinkIndex == loopbackIndex || r.Dst == nil {
		return false
	}
	n := networkOf(r)
	return n.Bits() > 0 && n.Addr().IsGlobalUnicast()
}

func networkOf(r *netlink.Route) Network {
	a, _ := netip.AddrFromSlice(r.Dst.IP)
	ones, bits := r.Dst.Mask.Size()
	a = a.Unmap()
	return Network{netip.PrefixFrom(a, ones-(bits-a.BitLen())).Masked(), r.Protocol != unix.RTPROT_KERNEL}
}
