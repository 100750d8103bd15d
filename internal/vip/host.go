package vip

import (
	"net/netip"
	"slices"
	"strings"
)

// Pods is how packets of pods are told from others (detectLocalMode). The zero value
// tells nobody. At most one of the ways is in use.
type Pods struct {
	CIDRs     []netip.Prefix // by the source address
	Interface string         // by the interface that they come in by
	Prefix    string         // by what the name of that interface begins with
}

// Tell reports whether pods can be told in a family.
func (p Pods) Tell(v4 bool) bool {
	return p.Interface != "" || p.Prefix != "" ||
		slices.ContainsFunc(p.CIDRs, func(c netip.Prefix) bool { return c.Addr().Is4() == v4 })
}

// Has reports whether a packet with that source address that came in by that
// interface (empty: from a process of this node) is of a pod.
func (p Pods) Has(source netip.Addr, in string) bool {
	switch {
	case p.Interface != "":
		return in == p.Interface
	case p.Prefix != "":
		return in != "" && strings.HasPrefix(in, p.Prefix)
	}
	return slices.ContainsFunc(p.CIDRs, func(c netip.Prefix) bool { return c.Contains(source) })
}

// String says it in a few words.
func (p Pods) String() string {
	switch {
	case p.Interface != "":
		return "by " + p.Interface
	case p.Prefix != "":
		return "by " + p.Prefix + "*"
	case len(p.CIDRs) > 0:
		return "in " + prefixText(p.CIDRs)
	}
	return "not told"
}

// Equal reports whether p and o tell alike.
func (p Pods) Equal(o Pods) bool {
	return p.Interface == o.Interface && p.Prefix == o.Prefix && slices.Equal(p.CIDRs, o.CIDRs)
}

// Host is what the fate of a packet depends on besides the table. It is not to be
// changed once passed.
type Host struct {
	Pods Pods
	// Addrs are all addresses of this node, both families. They are for Explain: a
	// dataplane asks the kernel (FromNode: fib saddr type local) and is not told when they
	// change, for with some networks they do with every pod.
	Addrs []netip.Addr
	// NodePortAddrs are those that serve NodePorts.
	NodePortAddrs []netip.Addr
	// NodePortAll4 and NodePortAll6 say that NodePortAddrs are all addresses of that
	// family but those of loopback and the link-local ones of IPv6: a dataplane may ask the
	// kernel here too.
	NodePortAll4, NodePortAll6 bool
	// NodePortLoopback says that 127.0.0.0/8 serves NodePorts too, for processes of this
	// node (iptables.localhostNodePorts). Not every dataplane can.
	NodePortLoopback bool
	// NodePortRelay are loopback addresses of which this process takes TCP connections to NodePorts, and connects
	// them to endpoints itself. A dataplane has nothing to do for them.
	NodePortRelay []netip.Addr
	// ServiceCIDRs are where ClusterIPs come from.
	ServiceCIDRs []netip.Prefix
	// Overlaps are those ServiceCIDRs that contain addresses in use for something else.
	Overlaps []Overlap
	// DropsUnused says that the mode drops a packet to an address in a ServiceCIDR that no
	// Service has, rather than send it to the default gateway. It does so only in the CIDRs
	// that Enforced returns. As with OtherPorts, it never drops what was translated, nor
	// what is for an address of this node.
	DropsUnused bool
	// BindsExternal says that the mode makes external addresses of Services the node's own,
	// and refuses their ports that no Service has.
	BindsExternal bool
}

// ServesNodePorts reports whether NodePorts are served on an address.
func (h *Host) ServesNodePorts(a netip.Addr) bool {
	if a.IsLoopback() {
		return h.NodePortLoopback && a.Is4()
	}
	return slices.Contains(h.NodePortAddrs, a)
}

// Class tells where a packet comes from; in is the interface that it came in by,
// empty if a process of this node sends it.
func (h *Host) Class(source netip.Addr, in string) Class {
	switch {
	case h.Pods.Has(source, in):
		return FromPod
	case source.IsLoopback() || slices.Contains(h.Addrs, source):
		return FromNode
	}
	return FromOutside
}

// Equal reports whether a dataplane writes the same for h and o.
func (h *Host) Equal(o *Host) bool {
	return h.Pods.Equal(o.Pods) && slices.Equal(h.NodePortAddrs, o.NodePortAddrs) &&
		h.NodePortAll4 == o.NodePortAll4 && h.NodePortAll6 == o.NodePortAll6 && h.NodePortLoopback == o.NodePortLoopback &&
		slices.Equal(h.Enforced(), o.Enforced())
}
