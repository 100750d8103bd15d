package agent

import (
	"net/netip"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Ports serves ports of Services in this process. A *healthcheck.Ports, which answers on healthCheckNodePorts, and a
// *relay.Relay implement it. Its methods must not block.
type Ports interface {
	Listen(addrs []netip.Addr) // an unspecified address means all addresses of its family
	Change(changes []vip.Change)
}

// noteChecks collects changes of healthCheckNodePorts until the rules are written: a load
// balancer must not see endpoints that no rule routes to yet.
func (a *Agent) noteChecks(changes []vip.Change) {
	for _, c := range changes {
		if c.Old != nil && c.Old.Kind == vip.HealthCheck || c.New != nil && c.New.Kind == vip.HealthCheck {
			a.checks = append(a.checks, c)
		}
	}
	if a.dirty { // writes may fail for a long time
		a.checks = merged(a.checks)
	}
}

// publishChecks passes the collected changes to Ports.
func (a *Agent) publishChecks() {
	if a.Ports != nil {
		a.Ports.Listen(checkAddrs(&a.host.Host))
		a.Ports.Change(a.checks)
	}
	a.checks = nil
}

// checkAddrs returns the addresses for healthCheckNodePorts: the same as for NodePorts.
func checkAddrs(h *vip.Host) []netip.Addr {
	var out []netip.Addr
	if h.NodePortAll4 {
		out = append(out, netip.IPv4Unspecified())
	}
	if h.NodePortAll6 {
		out = append(out, netip.IPv6Unspecified())
	}
	for _, a := range h.NodePortAddrs {
		if a.Is4() && !h.NodePortAll4 || a.Is6() && !h.NodePortAll6 {
			out = append(out, a)
		}
	}
	return out
}
