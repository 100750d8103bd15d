package nftables

import (
	"net/netip"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signpost-dns/signpost/internal/vip"
)

// exported lets go-cmp look into our structs.
var exported = cmp.Options{
	cmp.AllowUnexported(installed{}, value{}, key{}),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func sortAddrPorts(list []netip.AddrPort) { slices.SortFunc(list, netip.AddrPort.Compare) }

func sortBackends(list []vip.Backend) {
	slices.SortFunc(list, func(a, b vip.Backend) int { return a.Compare(b.AddrPort) })
}
