package nft

import (
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Family is what differs between IPv4 and IPv6.
type Family struct {
	Number byte   // as in struct nfgenmsg
	Name   string // in nft: the family of a table, and of a NAT statement
	Addr   Type

	SourceOffset, DestinationOffset uint32 // in the IP header

	header, destinationField uint32 // numbers of the IP header and of its destination in nft's notes on `typeof`
	unreachable              uint8  // ICMP code: port unreachable
}

// The families.
var (
	IPv4 = &Family{
		Number: unix.NFPROTO_IPV4, Name: "ip", Addr: Type{"ipv4_addr", 7, 4, false},
		SourceOffset: 12, DestinationOffset: 16, header: 12, destinationField: 12, unreachable: 3,
	}
	IPv6 = &Family{
		Number: unix.NFPROTO_IPV6, Name: "ip6", Addr: Type{"ipv6_addr", 8, 16, false},
		SourceOffset: 8, DestinationOffset: 24, header: 13, destinationField: 9, unreachable: 4,
	}
)

// Has reports whether an address is of the family. Addresses with a zone and IPv4-mapped IPv6 addresses belong to
// neither family: no packet carries them.
func (f *Family) Has(a netip.Addr) bool {
	if f == IPv4 {
		return a.Is4()
	}
	return a.Is6() && !a.Is4In6() && a.Zone() == ""
}

// Type is a type of nft. Name and number are nft's, the size is in bytes. In a concatenation each part is padded to
// four bytes.
type Type struct {
	Name   string
	number uint32
	Size   int
	native bool // in the byte order of the machine
}

// The types besides addresses.
var (
	TypeProtocol = Type{"inet_proto", 12, 1, false}
	TypePort     = Type{"inet_service", 13, 2, false}
	TypeMark     = Type{"mark", 19, 4, true}
	TypeClassid  = Type{"classid", 23, 4, true} // of `meta priority`
	TypeInteger  = Type{"integer", 4, 4, true}
)

// Padded returns the size in a concatenation.
func (t Type) Padded() int { return padded(t.Size) }

// text returns a value as nft shows it.
func (t Type) text(b []byte) string {
	switch t {
	case IPv4.Addr, IPv6.Addr:
		a, _ := netip.AddrFromSlice(b[:t.Size])
		return a.String()
	case TypeProtocol:
		return TransportOf(b[0]).Name
	case TypePort:
		return strconv.Itoa(int(b[0])<<8 | int(b[1]))
	case TypeClassid:
		return ClassidText(integer(b))
	case TypeMark:
		return markText(integer(b))
	}
	return utoa(integer(b))
}

// Transport is one of the protocols that have ports.
type Transport struct {
	Number byte   // in the IP header
	Name   string // in nft and /etc/protocols
	header uint32 // number in nft's notes on `typeof`
}

// Transports are the protocols that have ports.
var Transports = []Transport{{unix.IPPROTO_TCP, "tcp", 8}, {unix.IPPROTO_UDP, "udp", 6}, {unix.IPPROTO_SCTP, "sctp", 10}}

// TCP is the protocol whose connections a reset refuses.
var TCP = Transports[0]

// TransportOf finds a protocol by its number.
func TransportOf(number byte) Transport {
	for _, t := range Transports {
		if t.Number == number {
			return t
		}
	}
	return Transport{Number: number, Name: "protocol-" + utoa(uint32(number))}
}

func utoa(v uint32) string { return strconv.FormatUint(uint64(v), 10) }
