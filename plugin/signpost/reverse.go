package signpost

import (
	"net/netip"
	"strings"
)

// reverseNode finds a name of a reverse zone, given whole and in lower case. An
// inner node exists if any address below it does,
// though the option ptr may give that none of its own.
func (s *Signpost) reverseNode(name string, z *zone) node {
	if name == z.name {
		return node{kind: apex}
	}
	p, ok := parseReverse(name)
	switch {
	case !ok:
		return nodeMissing
	case !p.IsSingleIP():
		return emptyIf(z.inside && s.hasAddressIn(p) || z.outside && s.store.HasOutsideIn(p))
	case s.tight() && len(s.pointersIn(z, p.Addr())) == 0: // no name fits
		return nodeMissing
	case z.inside && (s.hasPointer(p.Addr()) || s.hasImportPointer(p.Addr())) || z.outside && s.store.OwnersOutside(p.Addr()).Valid():
		return node{kind: pointer, addr: p.Addr()}
	}
	return nodeMissing
}

// parseReverse reads a name below in-addr.arpa or ip6.arpa (RFC 1035 §3.5, RFC
// 3596 §2.5) as the prefix that its labels spell: a full name is one address.
func parseReverse(name string) (netip.Prefix, bool) {
	if strings.HasPrefix(name, ".") {
		return netip.Prefix{}, false
	}
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		return parseReverse4(rest)
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa."); ok {
		return parseReverse6(rest)
	}
	return netip.Prefix{}, false
}

func parseReverse4(name string) (netip.Prefix, bool) {
	var ip [4]byte
	n := 0
	for ; name != ""; n++ {
		var label string
		if name, label = cutLast(name); n == len(ip) {
			return netip.Prefix{}, false
		}
		octet, ok := parseOctet(label)
		if !ok {
			return netip.Prefix{}, false
		}
		ip[n] = octet
	}
	return netip.PrefixFrom(netip.AddrFrom4(ip), 8*n), true
}

// parseOctet reads a decimal octet as inet_ntoa would write it: no leading zeros.
func parseOctet(s string) (byte, bool) {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	v := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		v = 10*v + int(s[i]-'0')
	}
	return byte(v), v <= 255
}

func parseReverse6(name string) (netip.Prefix, bool) {
	var ip [16]byte
	n := 0
	for ; name != ""; n++ {
		var label string
		if name, label = cutLast(name); n == 2*len(ip) || len(label) != 1 {
			return netip.Prefix{}, false
		}
		nibble := strings.IndexByte("0123456789abcdef", label[0])
		if nibble < 0 {
			return netip.Prefix{}, false
		}
		ip[n/2] |= byte(nibble) << (4 * (1 - n%2))
	}
	return netip.PrefixFrom(netip.AddrFrom16(ip), 4*n), true
}
