package vip

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Endpoints tells of every endpoint of a route's Service port whether new connections
// of a class may lead to it, and if not, why: a line for each, sorted by address, also where
// several have the same. The
// entry is that of the Service from which Build made the route for n. A route of no
// port has none.
func (r *Route) Endpoints(e *cluster.Entry, n Node, class Class) []string {
	p := r.port(e)
	if p == nil {
		return nil
	}
	d := r.Policy.Of(class)
	set := d.Set
	if d.Action == Drop {
		set = Local // which is empty
	}
	usable := candidates(nil, e, p, r.Addr.Is4(), &n)
	taken, near := choose(usable, &n).of(set), nearness(usable, &n)
	var lines []string
	all := listed(nil, e, p, r.Addr.Is4(), &n)
	for i := range all {
		c := &all[i]
		why := "taken"
		switch {
		case c.Has(cluster.Additional):
			why = "not taken: it is not the first address of its endpoint"
		case c.Has(cluster.Superseded):
			why = "not taken: a newer EndpointSlice has its pod"
		case i > 0 && all[i-1].AddrPort == c.AddrPort:
			why = "not taken: another endpoint with its address goes before it" + c.state()
		case slices.Contains(taken, c.Backend) && d.Action == Forward && !slices.Contains(r.Backends(set), c.Backend):
			why = "not taken: the Service or its namespace has too many backends for a node"
		case !slices.Contains(taken, c.Backend):
			why = "not taken: " + c.fault(&n, set, near)
		}
		lines = append(lines, fmt.Sprintf("%v on %s, %s", c.AddrPort, c.where(), why))
	}
	for _, c := range r.portless(e, p, &n) {
		lines = append(lines, fmt.Sprintf("%v on %s, not taken: its EndpointSlice has no %s", c.Endpoint.Addr, c.where(), portName(p)))
	}
	return lines
}

// Unserved says why a route that refuses has no endpoint. The entry is as with Endpoints;
// "" if the route is of no port.
func (r *Route) Unserved(e *cluster.Entry, n Node) string {
	p := r.port(e)
	if p == nil {
		return ""
	}
	family := map[bool]string{true: "IPv4", false: "IPv6"}[r.Addr.Is4()]
	portless := r.portless(e, p, &n)
	ready := len(backends(portless, func(c *candidate) bool { return c.Has(cluster.Ready) }))
	switch {
	case len(portless) == 0 && len(listed(nil, e, p, r.Addr.Is4(), &n)) == 0:
		return fmt.Sprintf("no EndpointSlice lists an %s endpoint of %v: expected a pod that spec.selector matches and that has an address", family, e.Service.Key)
	case ready > 0:
		return fmt.Sprintf("%d endpoints are ready, and their EndpointSlices have no %s: expected targetPort to be a port of the pods", ready, portName(p))
	}
	return "no endpoint is ready, and none serves while it terminates"
}

// port is the Service port of a route; nil if it is of none.
func (r *Route) port(e *cluster.Entry) *cluster.ServicePort {
	if e == nil || e.Service == nil || r.Kind == OtherPorts || r.Kind == HealthCheck {
		return nil
	}
	i := slices.IndexFunc(e.Service.Ports, func(p cluster.ServicePort) bool {
		return p.Name == r.Owner.Port && p.Protocol == r.Protocol
	})
	if i < 0 {
		return nil
	}
	return &e.Service.Ports[i]
}

// portless are the endpoints of the route's family in slices that do not have its port, sorted by address.
func (r *Route) portless(e *cluster.Entry, p *cluster.ServicePort, n *Node) []candidate {
	var list []candidate
	for _, s := range e.Slices {
		if portOf(s, p) >= 0 {
			continue
		}
		for i := range s.Endpoints {
			if ep := &s.Endpoints[i]; ep.Addr.Is4() == r.Addr.Is4() {
				list = append(list, candidate{Backend{AddrPort: netip.AddrPortFrom(ep.Addr, 0), Local: n.has(ep)}, ep, s, i})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return a.Endpoint.Addr.Compare(b.Endpoint.Addr) })
	return list
}

// portName names the port of a Service as an EndpointSlice has it.
func portName(p *cluster.ServicePort) string {
	if p.Name == "" {
		return fmt.Sprintf("%v port without a name", p.Protocol)
	}
	return fmt.Sprintf("%v port named %q", p.Protocol, p.Name)
}

// state tells why an endpoint could not be used anyway.
func (c *candidate) state() string {
	switch {
	case c.Has(cluster.Ready):
		return ""
	case c.Has(cluster.Terminating):
		return ", and it terminates"
	}
	return ", and it is not ready"
}

func (c *candidate) where() string {
	switch {
	case c.Local:
		return "this node"
	case c.Node == cluster.Atom{}:
		return "no known node"
	}
	return c.Node.String()
}

// fault is why an endpoint is not in a set.
func (c *candidate) fault(n *Node, set Set, h near) string {
	switch {
	case set == Local && !c.Local:
		return "the traffic policy is Local"
	case c.draining() && !c.Has(cluster.Ready):
		return "it terminates, and others are ready"
	case c.Has(cluster.Terminating) && !c.Has(cluster.Ready):
		return "it terminates and does not serve"
	case !c.Has(cluster.Ready):
		return "it is not ready"
	case h == sameNode:
		return fmt.Sprintf("it is hinted for nodes %v, and this one is %v", c.ForNodes, n.Name)
	}
	return fmt.Sprintf("it is hinted for zones %v, and this node is in %v", c.ForZones, n.Zone)
}
