package vip

import (
	"fmt"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Endpoints tells of every endpoint of a route's Service port whether new connections
// of a class may lead to it, and if not, why: a line for each, sorted by address. The
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
	list := candidates(e, &e.Service.Ports[i], r.Addr.Is4(), &n)
	taken := choose(list, &n).of(set)
	var lines []string
	for i := range list {
		c := &list[i]
		why := "taken"
		if !slices.Contains(taken, c.Backend) {
			why = "not taken: " + c.fault(&n, set, nearness(list, &n))
		}
		lines = append(lines, fmt.Sprintf("%v on %s, %s", c.AddrPort, c.where(), why))
	}
	return lines
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
