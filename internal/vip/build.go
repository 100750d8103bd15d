package vip

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Node is what Build needs to know of this node and of its configuration.
type Node struct {
	Name cluster.Atom
	Zone cluster.Atom // topology.kubernetes.io/zone; empty: no hints of zones are followed
	// Addrs are those by which the node is known (its Node object): where a source
	// range lets one of them in, the node may also come from the VIP itself.
	Addrs []netip.Addr
	// Pods is how pods are told from others. In a family in which nobody can be told,
	// traffic to a ClusterIP keeps its source.
	Pods          Pods
	MasqueradeAll bool
	// NoExternalIPs leaves out spec.externalIPs, as the feature gate AllowServiceExternalIPs=false
	// wants it. An address that a load balancer has too stays that of the load balancer.
	NoExternalIPs bool
	Guard         Guard
}

// Equal reports whether Build makes the same on n and o of Services without external
// addresses. Of others it does if they have none in Guard.Differences.
func (n *Node) Equal(o *Node) bool {
	return n.Name == o.Name && n.Zone == o.Zone && slices.Equal(n.Addrs, o.Addrs) &&
		n.Pods.Equal(o.Pods) && n.MasqueradeAll == o.MasqueradeAll && n.NoExternalIPs == o.NoExternalIPs &&
		n.Guard.samePorts(&o.Guard)
}

// Build makes the frontends of one Service on a node. A nil Entry, a headless and
// an ExternalName Service have none, and none is in a family in which a Service has no
// ClusterIP. The routes come in the order of Frontend.Compare, no frontend twice.
func Build(e *cluster.Entry, n Node) []*Route { return BuildWithin(e, n, AllRoom) }

// BuildWithin is Build for a Service that has no more than that room. Frontends get room in
// the order of the ports, first that of the ClusterIP; backends in the order of their
// addresses, because endpoints do not tell their age. What does not fit is left out.
func BuildWithin(e *cluster.Entry, n Node, room Room) []*Route {
	if !routed(e) {
		return nil
	}
	room.Frontends = min(room.Frontends, MaxFrontends)
	var routes []*Route
	for _, ip := range e.Service.ClusterIPs {
		b := builder{entry: e, node: &n, v4: ip.Is4(), room: &room, out: outsideOf(e.Service, ip.Is4())}
		b.from = b.sources()
		b.add(OtherPorts, Frontend{Addr: ip}, RejectAll)
		for i := range e.Service.Ports {
			if b.full() {
				break
			}
			b.port(&e.Service.Ports[i], ip)
		}
		b.healthCheck()
		routes = append(routes, b.routes...)
	}
	// Of two ports with one NodePort the first has it, so names do not count.
	slices.SortStableFunc(routes, func(a, b *Route) int {
		return cmp.Or(a.Compare(b.Frontend), cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.Kind, b.Kind))
	})
	return slices.CompactFunc(routes, func(a, b *Route) bool { return a.Frontend == b.Frontend })
}

// outside yields the external addresses of a Service that this node serves, in the family
// of a ClusterIP of it. That itself is not among them: its frontends are there already.
func outside(s *cluster.Service, clusterIP netip.Addr, n *Node) iter.Seq2[Kind, netip.Addr] {
	return func(yield func(Kind, netip.Addr) bool) {
		x := s.External
		if x == nil {
			return
		}
		ours := func(a netip.Addr) bool { return a.Is4() == clusterIP.Is4() && a != clusterIP }
		for _, a := range x.IPs {
			if ours(a) && !n.NoExternalIPs && !yield(ExternalIP, a) {
				return
			}
		}
		for _, a := range x.LB {
			if ours(a) && !slices.Contains(x.Proxied, a) && !yield(LoadBalancer, a) {
				return
			}
		}
	}
}

// builder gathers the routes of a Service in one family.
type builder struct {
	entry  *cluster.Entry
	node   *Node
	v4     bool
	room   *Room // that is left of the Service's
	out    outsideCounts
	from   []netip.Prefix // from where load balancers' addresses take packets
	routes []*Route
	usable []candidate // of the port before: the next one takes its memory
}

// add adds a route of no particular port.
func (b *builder) add(k Kind, f Frontend, p Policy) *Route {
	s := b.entry.Service
	r := &Route{Frontend: f, Kind: k, Owner: Owner{Service: s.Key}, Created: int64(s.Created), Policy: p}
	b.routes = append(b.routes, r)
	return r
}

// port adds the frontends of a port.
func (b *builder) port(p *cluster.ServicePort, clusterIP netip.Addr) {
	b.usable = candidates(b.usable, b.entry, p, b.v4, b.node)
	all := choose(b.usable, b.node)
	n := count(b.entry, p, b.v4)
	b.portRoute(ClusterIP, clusterIP, p.Number, p, n, all)
	if p.NodePort != 0 {
		b.portRoute(NodePort, anyNode(b.v4), p.NodePort, p, n, all)
	}
	for kind, a := range outside(b.entry.Service, clusterIP, b.node) {
		if b.full() {
			return
		}
		b.portRoute(kind, a, p.Number, p, n, all)
	}
}

// portRoute adds a frontend of a port, unless the Guard refuses it or there is no room. One
// that is refused takes room: what a Service asks for is bounded.
func (b *builder) portRoute(k Kind, a netip.Addr, number uint16, p *cluster.ServicePort, n int, all choice) {
	f := Frontend{a, number, p.Protocol}
	c, ok := b.take(k, n, all)
	if !ok {
		return
	}
	if why, _ := b.node.Guard.refuses(k, f); why != "" {
		return
	}
	r := b.add(k, f, b.decide(k, c))
	r.Owner.Port = p.Name
	r.OnOtherNode = k.isOutside() && b.node.Guard.elsewhere(a)
	if r.Policy.LeadsTo(Cluster) {
		r.Cluster = c.cluster
	}
	if r.Policy.LeadsTo(Local) {
		r.Local = c.local
	}
	if x := b.entry.Service.External; x != nil {
		r.Affinity, r.Scheduler = x.Affinity, x.Scheduler
	}
	if k == LoadBalancer {
		r.Sources = b.from
	}
}

// healthCheck adds the port on which a load balancer asks whether this node has
// endpoints: it matters where only nodes with endpoints serve.
func (b *builder) healthCheck() {
	f := Frontend{anyNode(b.v4), checkPort(b.entry.Service), cluster.TCP}
	if why, _ := b.node.Guard.refuses(HealthCheck, f); f.Port == 0 || why != "" {
		return
	}
	b.add(HealthCheck, f, AcceptAll).Healthy = healthy(b.entry, b.v4, b.node)
}

// checkPort is the health check port of a Service that has one; else 0.
func checkPort(s *cluster.Service) uint16 {
	if s.Type != cluster.LoadBalancer || !s.ExternalLocal || s.External == nil {
		return 0
	}
	return s.External.HealthCheckPort
}

func anyNode(v4 bool) netip.Addr {
	if v4 {
		return AnyNode4
	}
	return AnyNode6
}

// decide returns the policy of a frontend. This is the one place that knows it. Where a policy is Local and this node
// has no endpoints although there are some elsewhere, it drops: a load balancer may take a while to notice.
func (b *builder) decide(kind Kind, c choice) Policy {
	pods, here := b.node.Pods.Tell(b.v4), len(c.local) > 0
	switch {
	case !c.any():
		return RejectAll // at once: nothing serves it anywhere
	case kind == ClusterIP:
		return b.decideInternal(here, pods)
	case !b.entry.Service.ExternalLocal:
		return ClusterMasquerade // the reply must come back through this node, whichever node the backend is on
	case pods && here:
		return ExternalLocal
	case pods:
		return ExternalLocalDrop
	case here:
		return ExternalLocalNoPods
	}
	return ExternalLocalNoPodsDrop
}

// decideInternal is decide for a ClusterIP. Clients that are not pods are masqueraded: replies could not be routed back
// to them from another node's pod network.
func (b *builder) decideInternal(here, pods bool) Policy {
	local, all := b.entry.Service.InternalLocal, b.node.MasqueradeAll
	switch {
	case local && !here:
		return DropAll
	case local && all:
		return LocalMasquerade
	case local && pods:
		return LocalPods
	case local:
		return LocalKeep
	case all:
		return ClusterMasquerade
	case pods:
		return ClusterPods
	}
	return ClusterKeep
}

// sources are the networks from which a load balancer's address takes packets: the
// ranges of the family, and where one has this node's own address, the addresses of the
// load balancer, for the kernel gives packets of the node to an address that is also on
// one of its interfaces that source. A range of length 0 takes everybody.
func (b *builder) sources() []netip.Prefix {
	x := b.entry.Service.External
	if x == nil || len(x.LB) == 0 {
		return nil
	}
	var list []netip.Prefix
	for _, p := range x.Sources {
		if p.Addr().Is4() == b.v4 {
			list = append(list, p)
		}
	}
	own := slices.ContainsFunc(b.node.Addrs, func(a netip.Addr) bool { return inAny(list, a) })
	for _, a := range x.LB {
		if own && a.Is4() == b.v4 && !slices.Contains(x.Proxied, a) {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	list = merged(list)
	if len(list) > 0 && list[0].Bits() == 0 {
		return nil
	}
	return list
}

func inAny(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// merged are the same networks of one family in as few as possible, sorted.
func merged(list []netip.Prefix) []netip.Prefix {
	list = slices.Clone(list)
	for i, p := range list {
		list[i] = p.Masked()
	}
	slices.SortFunc(list, netip.Prefix.Compare) // what contains comes before what is inside
	var out []netip.Prefix
	for _, p := range list {
		if len(out) > 0 && out[len(out)-1].Overlaps(p) {
			continue
		}
		for len(out) > 0 && halves(out[len(out)-1], p) {
			p = parent(p)
			out = out[:len(out)-1]
		}
		out = append(out, p)
	}
	return out
}

// halves reports whether two networks together are their parent.
func halves(a, b netip.Prefix) bool {
	return a != b && a.Bits() == b.Bits() && a.Bits() > 0 && parent(a) == parent(b)
}

func parent(p netip.Prefix) netip.Prefix { return netip.PrefixFrom(p.Addr(), p.Bits()-1).Masked() }
