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
//	10.96.0.10 udp 53 ClusterIP kube-system/kube-dns:dns pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:53* 10.244.2.7:53
//
// A star marks a backend on this node. Between decisions and backends stands what few
// routes have: sources=192.0.2.0/24 (or none), affinity=10800s, scheduler=lc, on-other-node, healthy=2.
// The backends of the set Local follow as local -> 10.244.1.2:53*.
func (t *Table) String() string {
	routes := slices.SortedFunc(t.All(), func(a, b *Route) int { return a.Compare(b.Frontend) })
	var b strings.Builder
	for _, r := range routes {
		b.WriteString(r.String())
		for _, o := range t.Losers(r.Frontend) {
			fmt.Fprintf(&b, " (also claimed by %v)", o)
		}
		if r.Kind == OtherPorts {
			t.waitingText(&b, r.Addr)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// waitingText prints who claims ports of a ClusterIP by an external address.
func (t *Table) waitingText(b *strings.Builder, a netip.Addr) {
	for _, f := range t.waiting(a) {
		for _, o := range t.Losers(f) {
			fmt.Fprintf(b, " (%d/%v also claimed by %v)", f.Port, f.Protocol, o)
		}
	}
}

// String prints the route in one line.
func (r *Route) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %v %v %v", r.Frontend, r.Kind, r.Owner, r.Policy)
	if r.Sources != nil {
		fmt.Fprintf(&b, " sources=%s", prefixText(r.Sources))
	}
	if r.Affinity != 0 {
		fmt.Fprintf(&b, " affinity=%ds", r.Affinity)
	}
	if r.Scheduler != "" {
		fmt.Fprintf(&b, " scheduler=%s", r.Scheduler)
	}
	if r.OnOtherNode {
		b.WriteString(" on-other-node")
	}
	if r.Kind == HealthCheck {
		fmt.Fprintf(&b, " healthy=%d", r.Healthy)
	}
	backendText(&b, " ->", r.Cluster)
	backendText(&b, " local ->", r.Local)
	return b.String()
}

func backendText(b *strings.Builder, arrow string, list []Backend) {
	if len(list) > 0 {
		b.WriteString(arrow)
	}
	for _, be := range list {
		fmt.Fprintf(b, " %v", be.AddrPort)
		if be.Local {
			b.WriteByte('*')
		}
	}
}

func prefixText(list []netip.Prefix) string {
	if len(list) == 0 {
		return "none"
	}
	var words []string
	for _, p := range list {
		words = append(words, p.String())
	}
	return strings.Join(words, ",")
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

// String prints a decision: cluster, local, either with +masquerade, reject, drop or accept.
func (d Decision) String() string {
	s := [...]string{"cluster", "reject", "drop", "accept"}[d.Action]
	if d.Action == Forward && d.Set == Local {
		s = "local"
	}
	if d.Masquerade {
		s += "+masquerade"
	}
	return s
}
