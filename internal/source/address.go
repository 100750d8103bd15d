package source

import (
	"net/netip"
	"strings"
)

// parseAddr reads an address as the API means it: IPv4 in an IPv6 address is
// IPv4, leading zeros of IPv4 are decimal (the API always took them so, whatever
// libc says), and a zone has no meaning outside one machine. It refuses the
// unspecified address, which is nobody's.
func parseAddr(s string) (a netip.Addr, ok bool) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		if a, err = netip.ParseAddr(withoutLeadingZeros(s)); err != nil {
			return netip.Addr{}, false
		}
	}
	a = a.Unmap()
	return a, a.Zone() == "" && !a.IsUnspecified()
}

// withoutLeadingZeros turns 010.0.0.001 into 10.0.0.1 and leaves all else as it is.
func withoutLeadingZeros(s string) string {
	octets := strings.Split(s, ".")
	if len(octets) != 4 || strings.Contains(s, ":") { // the end of an IPv6 address has octets, too
		return s
	}
	for i, o := range octets {
		if octets[i] = strings.TrimLeft(o, "0"); octets[i] == "" && o != "" {
			octets[i] = "0"
		}
	}
	return strings.Join(octets, ".")
}

// broadcast is the limited broadcast address (RFC 919).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// isExternal reports whether a can be an external address of a Service: one that means
// the same host from everywhere. The API checks this of externalIPs in part, of load
// balancers and in files not at all. What depends on ServiceCIDRs and nodes is refused by
// package vip.
func isExternal(a netip.Addr) bool {
	return !isLocal(a) && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
}

// isLocal reports whether a means another machine on every machine: the API
// refuses such addresses as endpoints and externalIPs, files do not.
func isLocal(a netip.Addr) bool {
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast()
}
