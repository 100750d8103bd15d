package vip

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Node is what Build needs to know of this node and of its configuration.
type Node struct {
	Name cluster.Atom
	// Pods is how pods are told from others. In a family in which nobody can be told,
	// traffic to a ClusterIP keeps its source.
	Pods          Pods
	MasqueradeAll bool
}

// Build makes the frontends of one Service on a node. A nil Entry, a headless and
// an ExternalName Service have none. The routes come in the order of Frontend.Compare.
func Build(e *cluster.Entry, n Node) []*Route {
	if e == nil || e.Service == nil || e.Service.Headless || e.Service.Type == cluster.ExternalName {
		return nil
	}
	var routes []*Route
	for _, ip := range e.Service.ClusterIPs {
		routes = append(routes, otherPorts(e.Service, ip))
	}
	for i := range e.Service.Ports {
		for _, ip := range e.Service.ClusterIPs {
			routes = append(routes, portRoutes(e, &e.Service.Ports[i], ip, n)...)
		}
	}
	slices.SortFunc(routes, func(a, b *Route) int { return a.Compare(b.Frontend) })
	return routes
}

// portRoutes makes the frontends of one port in the family of one ClusterIP: a
// Service has no frontends in a family in which it has no ClusterIP.
func portRoutes(e *cluster.Entry, p *cluster.ServicePort, clusterIP netip.Addr, n Node) []*Route {
	backends := backendsOf(e, p, clusterIP.Is4(), n)
	var routes []*Route
	add := func(kind Kind, addr netip.Addr, port uint16) {
		if addr.Is4() != clusterIP.Is4() {
			return
		}
		routes = append(routes, &Route{
			Frontend:  Frontend{addr, port, p.Protocol},
			Kind:      kind,
			Owner:     Owner{e.Service.Key, p.Name},
			Created:   int64(e.Service.Created),
			Decisions: decide(kind, clusterIP.Is4(), len(backends) > 0, n),
			Cluster:   backends,
		})
	}
	add(ClusterIP, clusterIP, p.Number)
	if x := e.Service.External; x != nil {
		for _, a := range x.IPs {
			add(ExternalIP, a, p.Number)
		}
		for _, a := range x.LB {
			add(LoadBalancer, a, p.Number)
		}
	}
	if p.NodePort != 0 {
		add(NodePort, anyNode(clusterIP), p.NodePort)
	}
	return routes
}

// otherPorts refuses what a Service does not have at its ClusterIP.
func otherPorts(s *cluster.Service, clusterIP netip.Addr) *Route {
	r := &Route{Frontend: Frontend{Addr: clusterIP}, Kind: OtherPorts, Owner: Owner{Service: s.Key}, Created: int64(s.Created)}
	for c := range r.Decisions {
		r.Decisions[c].Action = Reject
	}
	return r
}

func anyNode(family netip.Addr) netip.Addr {
	if family.Is4() {
		return AnyNode4
	}
	return AnyNode6
}

// decide is the policy of a frontend: what each source class gets. This is the
// one place that knows it.
func decide(kind Kind, v4, backends bool, n Node) [Classes]Decision {
	var d [Classes]Decision
	for c := range Classes {
		switch {
		case !backends:
			d[c].Action = Reject
		case kind != ClusterIP:
			// The reply must come back through this node, whichever the backend's is.
			d[c].Masquerade = true
		case n.MasqueradeAll:
			d[c].Masquerade = true
		case n.Pods.Tell(v4):
			// Who is not a pod has no route back from another node's pod network.
			d[c].Masquerade = c != FromPod
		}
	}
	return d
}

// backendsOf are the endpoints of a port, by the port's name and protocol, in one
// family: the ready ones, or those that still serve while they terminate if there
// are no others (KEP-1669).
func backendsOf(e *cluster.Entry, p *cluster.ServicePort, v4 bool, n Node) []Backend {
	list := withConditions(e, p, v4, n, cluster.Ready)
	if len(list) == 0 {
		list = withConditions(e, p, v4, n, cluster.Serving|cluster.Terminating)
	}
	return sorted(list)
}

func withConditions(e *cluster.Entry, p *cluster.ServicePort, v4 bool, n Node, want cluster.Conditions) []Backend {
	var list []Backend
	for _, s := range e.Slices {
		i := slices.IndexFunc(s.Ports, func(sp cluster.Port) bool { return sp.Name == p.Name && sp.Protocol == p.Protocol })
		if i < 0 {
			continue
		}
		for j := range s.Endpoints {
			if ep := &s.Endpoints[j]; ep.Has(want) && ep.Addr.Is4() == v4 {
				list = append(list, Backend{
					AddrPort: netip.AddrPortFrom(ep.Addr, s.Ports[i].Number),
					Local:    ep.Node == n.Name && n.Name != cluster.Atom{},
				})
			}
		}
	}
	return list
}
