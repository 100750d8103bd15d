package source

import (
	"net/netip"
	"strings"
)

// parseAddr parses an address as the API does: an IPv4-mapped IPv6 address is IPv4,
// leading zeros of IPv4 are decimal (unlike in libc), and zones are ignored because they
// mean something on one machine only. It rejects the unspecified address, which identifies
// no host.
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

// withoutLeadingZeros converts 010.0.0.001 to 10.0.0.1 and returns everything else unchanged.
func withoutLeadingZeros(s string) string {
	octets := strings.Split(s, ".")
	if len(octets) != 4 || strings.Contains(s, ":") { // IPv6 addresses may end with octets as well
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

// isExternal reports whether a can be an external address of a Service: one that identifies
// the same host from everywhere. The API checks externalIPs in part, and neither load
// balancers nor files. Package vip rejects addresses that conflict with ServiceCIDRs and
// nodes.
func isExternal(a netip.Addr) bool {
	return !isLocal(a) && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast
}

// isLocal reports whether a identifies a different host on every machine. The API
// rejects such addresses as endpoints and externalIPs; files may contain them.
func isLocal(a netip.Addr) bool {
	return a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast()
}
