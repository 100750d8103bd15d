package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"k8s.io/kube-proxy/config/v1alpha1"
)

// The words that stand among the CIDR blocks of nodePortAddresses.
const (
	primary   = "primary"
	localhost = "localhost"
	all       = "all"
)

// loopback are the networks that localhost stands for.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func (k *checker) nodePorts(w *v1alpha1.KubeProxyConfiguration) NodePorts {
	var out NodePorts
	includes := len(w.NodePortAddresses) == 0 // 127.0.0.1 is among the addresses
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
	out.Loopback = includes && w.Mode == ModeIPTables && *w.IPTables.LocalhostNodePorts
	return out
}

// loopbackNotes notes the loopback addresses that a list of addresses for NodePorts names and that
// serve none.
func loopbackNotes(w *v1alpha1.KubeProxyConfiguration) []string {
	var notes []string
	for i, s := range w.NodePortAddresses {
		p, err := netip.ParsePrefix(s)
		if s == localhost {
			p = loopback[0]
		} else if err != nil || !slices.ContainsFunc(loopback, func(l netip.Prefix) bool { return l.Bits() <= p.Bits() && l.Overlaps(p) }) {
			continue
		}
		why := ""
		switch {
		case w.Mode != ModeIPTables:
			why = "NodePorts on loopback addresses are served in mode iptables only"
		case !*w.IPTables.LocalhostNodePorts:
			why = "iptables.localhostNodePorts is false"
		case p.Addr().Is6():
			why = "of the loopback addresses those of IPv4 serve NodePorts"
		default:
			continue
		}
		notes = append(notes, fmt.Sprintf("nodePortAddresses[%d] has no effect: %s: %s", i, s, why))
	}
	return notes
}
