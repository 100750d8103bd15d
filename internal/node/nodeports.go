package node

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// NodePorts selects the addresses that serve NodePorts, like nodePortAddresses in
// kube-proxy's configuration.
type NodePorts struct {
	Primary bool           // the node's own address of each family
	All     bool           // all addresses
	CIDRs   []netip.Prefix // addresses inside; a family without any has all, unless Primary
	// Loopback selects 127.0.0.0/8, for the processes of the node. Not every dataplane supports it.
	Loopback bool
	// Relay lists the loopback addresses on which this process itself accepts TCP connections to NodePorts.
	Relay []netip.Addr
}

// Primary returns the node's own address of each family, at most two: the first of each
// family in its Node object (n may be nil). override, if it is an address, replaces the
// one of its family.
func Primary(n *cluster.Node, override netip.Addr) []netip.Addr {
	var candidates, out []netip.Addr
	if override.IsValid() && !override.IsUnspecified() {
		candidates = append(candidates, override)
	}
	if n != nil {
		candidates = append(candidates, n.Addrs...)
	}
	for _, a := range candidates {
		if !slices.ContainsFunc(out, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
			out = append(out, a)
		}
	}
	return out
}

// Addrs returns the machine's addresses that serve NodePorts, sorted.
//
// Loopback addresses are not included: see Loopback. IPv6 link-local addresses are included
// only if a CIDR contains them, because every pod adds one. If primary is empty, Primary
// selects all addresses, as in kube-proxy.
func (p NodePorts) Addrs(machine, primary []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range machine {
		if !a.IsLoopback() && p.serves(a, primary) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func (p NodePorts) serves(a netip.Addr, primary []netip.Addr) bool {
	if slices.ContainsFunc(p.CIDRs, func(c netip.Prefix) bool { return c.Bits() > 0 && c.Contains(a) }) {
		return true
	}
	return p.Primary && slices.Contains(primary, a) || p.Everything(a.Is4(), primary) && !isLinkLocal6(a)
}

// Everything reports whether all addresses of a family serve NodePorts, except loopback and
// IPv6 link-local addresses.
func (p NodePorts) Everything(v4 bool, primary []netip.Addr) bool {
	listed := false // whether CIDRs has one of the family
	for _, c := range p.CIDRs {
		if c.Addr().Is4() == v4 {
			if c.Bits() == 0 {
				return true
			}
			listed = true
		}
	}
	return p.All || p.Primary && len(primary) == 0 || !p.Primary && !listed
}

func isLinkLocal6(a netip.Addr) bool { return a.Is6() && a.IsLinkLocalUnicast() }
