package vip

import (
	"fmt"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Endpoints tells of every endpoint of a route's Service port whether new connections
// of a class may lead to it, and if not, why: a line for each, sorted by address, also where
// several have the same. The
// entry is that of the Service from which Build made the route for n. A route of no
// port has none.
func (r *Route) Endpoints(e *cluster.Entry, n Node, class Class) []string {
	if e == nil || e.Service == nil || r.Kind == OtherPorts || r.Kind == HealthCheck {
		return nil
	}
	i := slices.IndexFunc(e.Service.Ports, func(p cluster.ServicePort) bool {
		return p.Name == r.Owner.Port && p.Protocol == r.Protocol
	})
	if i < 0 {
		return nil
	}
	d := r.Decisions[class]
	set := d.Set
	if d.Action == Drop {
		set = Local // which is empty
	}
	usable := candidates(e, &e.Service.Ports[i], r.Addr.Is4(), &n)
	taken, near := choose(usable, &n).of(set), nearness(usable, &n)
	var lines []string
	all := listed(e, &e.Service.Ports[i], r.Addr.Is4(), &n)
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
	return lines
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
