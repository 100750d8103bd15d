package agent

import (
	"net/netip"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Ports serves ports of Services in this process. One answers on healthCheckNodePorts: a *healthcheck.Ports. Neither
// method waits.
type Ports interface {
	Listen(addrs []netip.Addr) // an unspecified address stands for all of its family
	Change(changes []vip.Change)
}

// noteChecks keeps what changed about healthCheckNodePorts until the rules are written:
// a load balancer must not be told of endpoints that no rule leads to yet.
func (a *Agent) noteChecks(changes []vip.Change) {
	for _, c := range changes {
		if c.Old != nil && c.Old.Kind == vip.HealthCheck || c.New != nil && c.New.Kind == vip.HealthCheck {
			a.checks = append(a.checks, c)
		}
	}
	if a.dirty { // it may last
		a.checks = merged(a.checks)
	}
}

// tellChecks passes it on.
func (a *Agent) tellChecks() {
	if a.Ports != nil {
		a.Ports.Listen(checkAddrs(&a.host.Host))
		a.Ports.Change(a.checks)
	}
	a.checks = nil
}

// checkAddrs are the addresses on which healthCheckNodePorts are: those of NodePorts.
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
