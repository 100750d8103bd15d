package signpost

import (
	"net/netip"
	"strings"
)

// dashedSize holds the longest dashed address: eight groups of four hex digits.
const dashedSize = 40

// appendDashed appends the label that stands for an address: its canonical text
// (RFC 5952) with dashes for dots and colons. No host name ends in a dash (RFC 952),
// so fd00:: is fd00--0, as it is in the peer.
func appendDashed(dst []byte, a netip.Addr) []byte {
	start := len(dst)
	dst = a.AppendTo(dst)
	for i := start; i < len(dst); i++ {
		if dst[i] == '.' || dst[i] == ':' {
			dst[i] = '-'
		}
	}
	if dst[len(dst)-1] == '-' {
		dst = append(dst, '0')
	}
	return dst
}

// parseDashed reads such a label; the zero Addr if it is none. Three single
// dashes make it IPv4, anything else is tried as IPv6.
func parseDashed(label string) netip.Addr {
	if len(label) == 0 || len(label) >= dashedSize {
		return netip.Addr{}
	}
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		return parseDashed4(label)
	}
	for i := range len(label) {
		c := label[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return netip.Addr{} // an ordinary host name: spares the parser's error value
		}
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	if err != nil || a.Is4In6() {
		return netip.Addr{}
	}
	return a
}

func parseDashed4(label string) netip.Addr {
	var ip [4]byte
	for i := range ip {
		text, rest, _ := strings.Cut(label, "-")
		octet, ok := parseOctet(text)
		if !ok {
			return netip.Addr{}
		}
		ip[i], label = octet, rest
	}
	return netip.AddrFrom4(ip)
}
