package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// String prints one line for each frontend, sorted: the golden form, what
// /debug/table serves and what people read.
//
//	10.96.0.10 udp 53 ClusterIP kube-system/kube-dns:dns pod=forward node=forward+masquerade outside=forward+masquerade -> 10.244.1.2:53* 10.244.2.7:53
//
// A star marks a backend on this node.
func (t *Table) String() string {
	routes := slices.SortedFunc(t.All(), func(a, b *Route) int { return a.Compare(b.Frontend) })
	var b strings.Builder
	for _, r := range routes {
		b.WriteString(r.String())
		for _, o := range t.Losers(r.Frontend) {
			fmt.Fprintf(&b, " (also claimed by %v)", o)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// String prints the route in one line.
func (r *Route) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v %v", r.Frontend, r.Kind, r.Owner)
	for c, d := range r.Decisions {
		fmt.Fprintf(&b, " %v=%v", Class(c), d)
	}
	if len(r.Backends) > 0 {
		b.WriteString(" ->")
	}
	for _, be := range r.Backends {
		fmt.Fprintf(&b, " %v", be.AddrPort)
		if be.Local {
			b.WriteByte('*')
		}
	}
	return b.String()
}

func addrText(a netip.Addr) string {
	switch a {
	case AnyNode4:
		return "node-ipv4"
	case AnyNode6:
		return "node-ipv6"
	}
	return a.String()
}

// String prints a decision: forward, forward+masquerade, reject or drop.
func (d Decision) String() string {
	s := [...]string{"forward", "reject", "drop"}[d.Action]
	if d.Masquerade {
		s += "+masquerade"
	}
	return s
}
