package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// Keywords of nodePortAddresses besides CIDR blocks.
const (
	primary   = "primary"
	localhost = "localhost"
	all       = "all"
)

// loopback lists the networks of the keyword localhost.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func (k *checker) nodePorts(w *v1alpha1.KubeProxyConfiguration) NodePorts {
	var out NodePorts
	includes := len(w.NodePortAddresses) == 0 // the default includes 127.0.0.1
	for i, s := range w.NodePortAddresses {
		switch s {
		case primary:
			out.Primary = true
		case all:
			out.All, includes = true, true
		case localhost:
			out.CIDRs, includes = append(out.CIDRs, loopback...), true
		default:
			p, err := netip.ParsePrefix(s)
			if err != nil {
				k.wrong(fmt.Sprintf("nodePortAddresses[%d]", i), strconv.Quote(s), "a CIDR block such as 192.0.2.0/24, primary, localhost or all")
				continue
			}
			out.CIDRs = append(out.CIDRs, p.Masked())
			includes = includes || p.Overlaps(loopback[0])
		}
	}
	out.Relay = relayed(w)
	out.Loopback = includes && w.Mode == ModeIPTables && *w.IPTables.LocalhostNodePorts
	return out
}

// listens are the addresses that serve NodePorts in the networks of loopback, in the same order.
var listens = []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}

// relayed returns the loopback addresses that the forwarder itself serves. As in kube-proxy, the list must name
// them: a larger network does not count.
func relayed(w *v1alpha1.KubeProxyConfiguration) (out []netip.Addr) {
	for i, a := range listens {
		names := func(s string) bool { return s == localhost || inLoopback(s).Contains(a) }
		if slices.ContainsFunc(w.NodePortAddresses, names) && unrelayed(w, loopback[i]) == "" {
			out = append(out, a)
		}
	}
	return out
}

// inLoopback parses a network of loopback addresses. It returns the zero Prefix if s is none.
func inLoopback(s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err == nil && slices.ContainsFunc(loopback, func(l netip.Prefix) bool { return l.Bits() <= p.Bits() && l.Overlaps(p) }) {
		return p
	}
	return netip.Prefix{}
}

// unrelayed returns why the forwarder itself serves no NodePort in a loopback network.
func unrelayed(w *v1alpha1.KubeProxyConfiguration, p netip.Prefix) string {
	on, said := w.FeatureGates[localhostGate]
	switch {
	case w.Mode == ModeIPTables && p.Addr().Is4() && !*w.IPTables.LocalhostNodePorts:
		return "iptables.localhostNodePorts is false"
	case w.Mode == ModeIPTables && p.Addr().Is4():
		return "mode iptables has rules for it"
	case (w.Mode == ModeNFTables || w.Mode == ModeAuto) && said && !on:
		return "featureGates[" + localhostGate + "] is false"
	case !slices.ContainsFunc(listens, p.Contains):
		return "NodePorts are served on no loopback addresses except 127.0.0.1 and ::1"
	}
	return ""
}

// loopbackNotes returns notes for loopback addresses in the list of NodePort addresses that serve
// none.
func loopbackNotes(w *v1alpha1.KubeProxyConfiguration, n NodePorts) []string {
	var notes []string
	for i, s := range w.NodePortAddresses {
		p := inLoopback(s)
		if s == localhost {
			p = loopback[0]
		}
		served := n.Loopback && p.Addr().Is4() || slices.ContainsFunc(n.Relay, p.Contains)
		if p.IsValid() && !served {
			notes = append(notes, fmt.Sprintf("nodePortAddresses[%d] has no effect: %s: %s", i, s, unrelayed(w, p)))
		}
	}
	return notes
}
