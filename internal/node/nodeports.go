package node

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// NodePorts says which addresses serve NodePorts, as nodePortAddresses of
// kube-proxy's configuration does.
type NodePorts struct {
	Primary bool           // the node's own address of each family
	All     bool           // all
	CIDRs   []netip.Prefix // those inside; a family without any has all, unless Primary
	// Loopback is 127.0.0.0/8, for the processes of the node. Not every dataplane can.
	Loopback bool
	// Relay are the loopback addresses on which this process takes TCP connections to NodePorts itself.
	Relay []netip.Addr
}

// Primary gives the address of each family by which the node is known, at most two:
// the first of each in its Node object (n may be nil), or, in its own family,
// override, if that is an address.
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

// Addrs picks from the machine's addresses those that serve NodePorts, sorted.
//
// Loopback addresses are not among them: see Loopback. IPv6
// link-local ones do only if a CIDR names them: there is one more with every pod.
// If the node is not known by any address, Primary means all of them, as with
// kube-proxy.
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

// Everything reports whether all addresses of a family serve NodePorts, but those of
// loopback and the link-local ones of IPv6.
func (p NodePorts) Everything(v4 bool, primary []netip.Addr) bool {
	listed := false // the family is
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
