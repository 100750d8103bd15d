package netlab

import (
	"fmt"
	"net/netip"
)

// plan is the address plan of a lab. Pure arithmetic: numbers in, addresses out. Without IPv6 the IPv6 values are zero.
type plan struct {
	ipv6 bool
}

// subnet is one network with both IP families.
type subnet struct {
	v4, v6 netip.Prefix
}

// Largest numbers that the plan has room for.
const (
	maxNodes     = 200 // 172.30.0.11 … .210
	firstPodHost = 2   // first last part of a pod's address; 1 is the bridge
	maxPodHost   = 254
)

// The last parts of the addresses on the switch's network.
const (
	switchHost  = 1
	nodeHost    = 10 // plus the number of the node, from 1
	outsideHost = 250
)

// fabric is the network that connects nodes and outside.
func (p plan) fabric() subnet {
	return subnet{netip.MustParsePrefix("172.30.0.0/24"), p.maybe(netip.MustParsePrefix("fd00:30::/64"))}
}

// pods is the network of the pods of one node, counted from 1.
func (p plan) pods(node int) subnet {
	return subnet{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(node), 0}), 24),
		p.maybe(netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%x::/64", node))),
	}
}

func (p plan) maybe(v6 netip.Prefix) netip.Prefix {
	if !p.ipv6 {
		return netip.Prefix{}
	}
	return v6
}

// host is an address of the network with its prefix length: 172.30.0.11/24. The last part is the same number in both
// families, written in hexadecimal in IPv6.
func (s subnet) host(n int) subnet {
	four := s.v4.Addr().As4()
	four[3] = byte(n)
	h := subnet{v4: netip.PrefixFrom(netip.AddrFrom4(four), s.v4.Bits())}
	if s.v6.IsValid() {
		six := s.v6.Addr().As16()
		six[15] = byte(n)
		h.v6 = netip.PrefixFrom(netip.AddrFrom16(six), s.v6.Bits())
	}
	return h
}

// everywhere is the destination of a default route.
func (p plan) everywhere() subnet {
	return subnet{netip.MustParsePrefix("0.0.0.0/0"), p.maybe(netip.MustParsePrefix("::/0"))}
}
