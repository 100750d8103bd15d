package vip

import (
	"net/netip"
	"slices"
)

// sources are the networks from which a load balancer's address takes packets: the
// ranges of the family, and where one has this node's own address, the addresses of the
// load balancer, for the kernel gives packets of the node to an address that is also on
// one of its interfaces that source. A range of length 0 takes everybody.
func (b *builder) sources() []netip.Prefix {
	x := b.entry.Service.External
	if x == nil || len(x.LB) == 0 {
		return nil
	}
	var list []netip.Prefix
	for _, p := range x.Sources {
		if p.Addr().Is4() == b.v4 {
			list = append(list, p)
		}
	}
	own := slices.ContainsFunc(b.node.Addrs, func(a netip.Addr) bool { return inAny(list, a) })
	for _, a := range x.LB {
		if own && a.Is4() == b.v4 && !slices.Contains(x.Proxied, a) {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	list = merged(list)
	if len(list) > 0 && list[0].Bits() == 0 {
		return nil
	}
	return list
}

func inAny(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// merged are the same networks of one family in as few as possible, sorted.
func merged(list []netip.Prefix) []netip.Prefix {
	list = slices.Clone(list)
	for i, p := range list {
		list[i] = p.Masked()
	}
	slices.SortFunc(list, netip.Prefix.Compare) // what contains comes before what is inside
	var out []netip.Prefix
	for _, p := range list {
		if len(out) > 0 && out[len(out)-1].Overlaps(p) {
			continue
		}
		for len(out) > 0 && halves(out[len(out)-1], p) {
			p = parent(p)
			out = out[:len(out)-1]
		}
		out = append(out, p)
	}
	return out
}

// halves reports whether two networks together are their parent.
func halves(a, b netip.Prefix) bool {
	return a != b && a.Bits() == b.Bits() && a.Bits() > 0 && parent(a) == parent(b)
}

func parent(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked() }
