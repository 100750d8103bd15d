package nftables

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// families are the families of our tables.
var families = []*nft.Family{nft.IPv4, nft.IPv6}

// anyNode returns the address that stands for all addresses of this node: the first of all.
func anyNode(f *nft.Family) netip.Addr {
	if f == nft.IPv4 {
		return vip.AnyNode4
	}
	return vip.AnyNode6
}

func hasPorts(protocol byte) bool {
	return slices.ContainsFunc(nft.Transports, func(t nft.Transport) bool { return t.Number == protocol })
}
