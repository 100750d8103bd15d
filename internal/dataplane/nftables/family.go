package nftables

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/vip"
)

// family is what differs between IPv4 and IPv6.
type family struct {
	number       byte   // as in struct nfgenmsg
	name         string // as nft has it: the family of a table, and of a NAT statement
	addr         dataType
	saddr, daddr uint32 // offsets in the IP header
	header       uint32 // number of the IP header in nft's notes on `typeof`
	daddrField   uint32 // number of its destination address in there
	unreachable  uint8  // ICMP code: port unreachable
}

var (
	ip4 = &family{
		number: unix.NFPROTO_IPV4, name: "ip", addr: dataType{"ipv4_addr", 7, 4},
		saddr: 12, daddr: 16, header: 12, daddrField: 12, unreachable: 3,
	}
	ip6 = &family{
		number: unix.NFPROTO_IPV6, name: "ip6", addr: dataType{"ipv6_addr", 8, 16},
		saddr: 8, daddr: 24, header: 13, daddrField: 9, unreachable: 4,
	}
	families = []*family{ip4, ip6}
)

// dataType is a type of nft: its name, its number in NFTA_SET_KEY_TYPE and its
// size in bytes. In a concatenation each part is padded to four bytes.
type dataType struct {
	name   string
	number uint32
	size   int
}

var (
	protocolType = dataType{"inet_proto", 12, 1}
	portType     = dataType{"inet_service", 13, 2}
	integerType  = dataType{"integer", 4, 4}
	classidType  = dataType{"classid", 23, 4} // of meta priority, which has the numbers of package affinity.go
)

func (t dataType) padded() int { return (t.size + 3) &^ 3 }

// has reports whether an address is of the family. Addresses with a zone, and IPv4
// in IPv6 clothes, are of none: no packet carries them.
func (f *family) has(a netip.Addr) bool {
	if f == ip4 {
		return a.Is4()
	}
	return a.Is6() && !a.Is4In6() && a.Zone() == ""
}

// anyNode is the address that stands for all addresses of this node: the first of all.
func (f *family) anyNode() netip.Addr {
	if f == ip4 {
		return vip.AnyNode4
	}
	return vip.AnyNode6
}

// transport is one of the protocols that have ports.
type transport struct {
	number byte   // in the IP header
	name   string // as nft and /etc/protocols have it
	header uint32 // number in nft's notes on `typeof`
}

var transports = []transport{{6, "tcp", 8}, {17, "udp", 6}, {132, "sctp", 10}}

// portField is the number of the destination port in nft's notes: the same in all three headers.
const portField = 2

func hasPorts(protocol byte) bool {
	return slices.ContainsFunc(transports, func(t transport) bool { return t.number == protocol })
}
