package vip

import (
	"net/netip"
	"slices"
	"sort"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// twin says what becomes of a packet in the slow and obvious way: from the objects as
// they were put, one question after the other, with no table and nothing remembered.
type twin struct {
	services map[cluster.Key]*cluster.Service
	slices   map[cluster.Key]rawSlice
	node     Node
	host     Host
}

// rawSlice is a slice before a Store settled anything.
type rawSlice struct {
	name    string
	service cluster.Key
	version uint64
	ports   []cluster.Port
	list    []cluster.Endpoint
}

// claim is that a Service wants packets to an address and port.
type claim struct {
	service *cluster.Service
	port    *cluster.ServicePort // nil: a health check, or the rest of a cluster IP
	at      int                  // of the port among the Service's
	what    string               // cluster, lb, external, node, check, rest
	to      netip.Addr
}

// ask is what happens to a packet, in the words of rows.txt.
func (w *twin) ask(p Packet) string {
	to := p.Destination.Addr()
	c, ok := w.best(p.Destination.Port(), p.Protocol, func(s *cluster.Service) []claim { return w.claims(s, p, to, false) })
	if !ok && w.servesNodePorts(to) {
		c, ok = w.best(p.Destination.Port(), p.Protocol, func(s *cluster.Service) []claim { return w.claims(s, p, to, true) })
	}
	if ok {
		return w.use(c, p)
	}
	if slices.Contains(w.host.Addrs, to) {
		return ""
	}
	rest, ok := w.best(0, 0, func(s *cluster.Service) []claim {
		if w.routed(s, to.Is4()) && slices.Contains(s.ClusterIPs, to) {
			return []claim{{service: s, what: "rest"}}
		}
		return nil
	})
	if ok && rest.service != nil {
		return "REJECT"
	}
	for _, c := range w.host.ServiceCIDRs {
		if c.Contains(to) {
			return "DROP"
		}
	}
	return ""
}

// routed: neither headless, nor ExternalName, nor without a cluster IP of the family.
func (w *twin) routed(s *cluster.Service, v4 bool) bool {
	for _, ip := range s.ClusterIPs {
		if ip.Is4() == v4 {
			return !s.Headless && s.Type != cluster.ExternalName
		}
	}
	return false
}

func (w *twin) servesNodePorts(a netip.Addr) bool {
	if a.IsLoopback() {
		return a.Is4() && w.host.NodePortLoopback
	}
	for _, n := range w.host.NodePortAddrs {
		if n == a {
			return true
		}
	}
	return false
}

// claims are those of a Service on what a packet dials.
func (w *twin) claims(s *cluster.Service, p Packet, to netip.Addr, onNode bool) (list []claim) {
	if !w.routed(s, to.Is4()) {
		return nil
	}
	x := s.External
	if x == nil {
		x = &cluster.External{}
	}
	for i := range s.Ports {
		port := &s.Ports[i]
		if port.Protocol != p.Protocol {
			continue
		}
		if onNode {
			if port.NodePort == p.Destination.Port() && port.NodePort != 0 {
				list = append(list, claim{s, port, i, "node", to})
			}
			continue
		}
		if port.Number != p.Destination.Port() {
			continue
		}
		if slices.Contains(s.ClusterIPs, to) {
			list = append(list, claim{s, port, i, "cluster", to})
		}
		if slices.Contains(x.LB, to) && !slices.Contains(x.Proxied, to) {
			list = append(list, claim{s, port, i, "lb", to})
		}
		if slices.Contains(x.IPs, to) {
			list = append(list, claim{s, port, i, "external", to})
		}
	}
	if onNode && s.Type == cluster.LoadBalancer && s.ExternalLocal && x.HealthCheckPort != 0 &&
		x.HealthCheckPort == p.Destination.Port() && p.Protocol == cluster.TCP {
		list = append(list, claim{s, nil, 0, "check", to})
	}
	return list
}

// best is the claim that counts: first the cluster IP, then the load balancer's address,
// then the external one; of one kind that of the oldest Service, then by name. NodePorts
// and health checks are of one kind, and in one Service the NodePort comes first, then
// the port that is listed first.
func (w *twin) best(port uint16, protocol cluster.Protocol, claims func(*cluster.Service) []claim) (best claim, ok bool) {
	order := "cluster lb external node check rest"
	outside := func(c claim) int { return max(0, strings.Index("lb external", c.what)+1) }
	var all []claim
	for _, s := range w.services {
		for _, c := range claims(s) {
			if !w.isClusterIPOfOther(c) && !w.isGuarded(c, port, protocol) {
				all = append(all, c)
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if outside(a) != outside(b) {
			return outside(a) < outside(b)
		}
		if a.service != b.service {
			if a.service.Created != b.service.Created {
				return a.service.Created < b.service.Created
			}
			return a.service.Name < b.service.Name
		}
		if a.what != b.what {
			return strings.Index(order, a.what) < strings.Index(order, b.what)
		}
		return a.at < b.at
	})
	if len(all) == 0 {
		return claim{}, false
	}
	return all[0], true
}

// isClusterIPOfOther: an external address that is the cluster IP of another Service is
// not served, at no port.
func (w *twin) isClusterIPOfOther(c claim) bool {
	if c.what != "lb" && c.what != "external" {
		return false
	}
	for _, s := range w.services {
		if s.Key != c.service.Key && w.routed(s, c.to.Is4()) && slices.Contains(s.ClusterIPs, c.to) {
			return true
		}
	}
	return false
}

// isGuarded: no Service may have it, by the words of the documentation.
func (w *twin) isGuarded(c claim, port uint16, protocol cluster.Protocol) bool {
	external := c.what == "lb" || c.what == "external"
	if !external && c.what != "node" && c.what != "check" {
		return false
	}
	if external && slices.Contains(c.service.ClusterIPs, c.to) {
		return false // its own
	}
	g := w.node.Guard
	for _, p := range g.ServiceCIDRs {
		if external && p.Contains(c.to) {
			return true
		}
	}
	own := !external || slices.Contains(g.Known, c.to) || c.what == "external" && slices.Contains(g.Machine, c.to)
	apiHere := false
	for _, e := range g.API {
		apiHere = apiHere || slices.Contains(g.Known, e.Addr()) || slices.Contains(g.Machine, e.Addr())
	}
	for _, e := range g.API {
		if external && protocol == cluster.TCP && e == netip.AddrPortFrom(c.to, port) || own && apiHere && protocol == cluster.TCP && e.Port() == port {
			return true
		}
	}
	for _, p := range g.Ports {
		if p.Number == port && (p.Protocol == 0 || p.Protocol == protocol) && (own || slices.Contains(g.Others, c.to)) {
			return true
		}
	}
	return false
}

// use is what happens to a packet that a Service takes.
func (w *twin) use(c claim, p Packet) string {
	if c.what == "check" {
		return "ACCEPT"
	}
	if c.what == "lb" && !w.mayComeIn(c.service, p) {
		return "DROP"
	}
	v4 := p.Source.Is4()
	list := w.endpoints(c, v4)
	usable := func(e cluster.Endpoint) bool {
		return e.Has(cluster.Ready) || e.Has(cluster.Serving) && e.Has(cluster.Terminating)
	}
	some := false
	for _, e := range list {
		some = some || usable(e.Endpoint)
	}
	if !some {
		return "REJECT"
	}
	pod, node := w.isPod(p), p.Source.IsLoopback() || slices.Contains(w.host.Addrs, p.Source)
	told := w.tellsPods(v4)
	local, masquerade := false, false
	if c.what == "cluster" {
		local = c.service.InternalLocal
		masquerade = w.node.MasqueradeAll || told && !pod
	} else if !c.service.ExternalLocal {
		masquerade = true
	} else if pod {
		local, masquerade = false, false
	} else if node {
		local, masquerade = false, true
	} else {
		local, masquerade = true, false
	}
	chosen := w.nearest(list)
	if local {
		chosen = nil
		for _, e := range list {
			if e.Node == w.node.Name {
				chosen = append(chosen, e)
			}
		}
	}
	var final []endpoint
	for _, want := range []func(cluster.Endpoint) bool{
		func(e cluster.Endpoint) bool { return e.Has(cluster.Ready) },
		func(e cluster.Endpoint) bool { return e.Has(cluster.Serving) && e.Has(cluster.Terminating) },
	} {
		for _, e := range chosen {
			if want(e.Endpoint) {
				final = append(final, e)
			}
		}
		if len(final) > 0 {
			break
		}
	}
	if len(final) == 0 {
		return "DROP"
	}
	x := Explanation{Action: Forward}
	for _, e := range final {
		self := e.Addr == p.Source && e.Node == w.node.Name
		x.Answers = append(x.Answers, Answer{Backend{AddrPort: netip.AddrPortFrom(e.Addr, e.port)}, masquerade || self})
	}
	return short(x)
}

func (w *twin) isPod(p Packet) bool {
	pods := w.host.Pods
	if pods.Interface != "" {
		return p.In == pods.Interface
	}
	if pods.Prefix != "" {
		return strings.HasPrefix(p.In, pods.Prefix)
	}
	for _, c := range pods.CIDRs {
		if c.Contains(p.Source) {
			return true
		}
	}
	return false
}

func (w *twin) tellsPods(v4 bool) bool {
	if w.host.Pods.Interface != "" || w.host.Pods.Prefix != "" {
		return true
	}
	for _, c := range w.host.Pods.CIDRs {
		if c.Addr().Is4() == v4 {
			return true
		}
	}
	return false
}

// mayComeIn is spec.loadBalancerSourceRanges.
func (w *twin) mayComeIn(s *cluster.Service, p Packet) bool {
	ranges, everybody, this := 0, false, false
	for _, r := range s.External.Sources {
		if r.Addr().Is4() == p.Source.Is4() {
			ranges++
			everybody = everybody || r.Bits() == 0 || r.Contains(p.Source)
			for _, a := range w.node.Addrs {
				this = this || r.Contains(a)
			}
		}
	}
	vip := slices.Contains(s.External.LB, p.Source) && !slices.Contains(s.External.Proxied, p.Source)
	return ranges == 0 || everybody || this && vip
}

// endpoint is one with the port that it has there.
type endpoint struct {
	cluster.Endpoint
	port uint16
}

// endpoints are those of a port: of several with one address and number the best.
func (w *twin) endpoints(c claim, v4 bool) []endpoint {
	type source struct {
		endpoint
		from rawSlice
	}
	found := map[netip.AddrPort]source{}
	for _, sl := range w.slices {
		for _, port := range sl.ports {
			if sl.service != c.service.Key || port.Name != c.port.Name || port.Protocol != c.port.Protocol {
				continue
			}
			for _, e := range sl.list {
				if e.Addr.Is4() != v4 || e.Has(cluster.Additional) || w.moved(sl, e) {
					continue
				}
				at, mine := netip.AddrPortFrom(e.Addr, port.Number), source{endpoint{e, port.Number}, sl}
				other, twice := found[at]
				better := !twice
				if twice {
					gone, otherGone := e.Has(cluster.Terminating), other.Has(cluster.Terminating)
					here, otherHere := e.Node == w.node.Name, other.Node == w.node.Name
					switch {
					case e.Has(cluster.Ready) != other.Has(cluster.Ready):
						better = e.Has(cluster.Ready)
					case e.Has(cluster.Ready) && here != otherHere:
						better = here
					case gone != otherGone:
						better = otherGone
					case sl.version != other.from.version:
						better = sl.version > other.from.version
					default:
						better = sl.name > other.from.name
					}
				}
				if better {
					found[at] = mine
				}
			}
		}
	}
	var list []endpoint
	for _, s := range found {
		list = append(list, s.endpoint)
	}
	sort.Slice(list, func(i, j int) bool {
		return netip.AddrPortFrom(list[i].Addr, list[i].port).Compare(netip.AddrPortFrom(list[j].Addr, list[j].port)) < 0
	})
	return list
}

// moved reports whether a newer slice with the same ports has the pod.
func (w *twin) moved(sl rawSlice, e cluster.Endpoint) bool {
	for _, o := range w.slices {
		newer := o.version > sl.version || o.version == sl.version && o.name > sl.name
		if !newer || o.service != sl.service || !slices.Equal(o.ports, sl.ports) {
			continue
		}
		for _, there := range o.list {
			if there.Addr == e.Addr && there.Pod == e.Pod && e.Pod != 0 {
				return true
			}
		}
	}
	return false
}

// nearest drops ready endpoints that are meant for others.
func (w *twin) nearest(list []endpoint) []endpoint {
	for _, kind := range []string{"node", "zone"} {
		hints := func(e endpoint) []string {
			text, _ := e.ForZones.String(), e.ForNodes.String()
			if kind == "node" {
				text = e.ForNodes.String()
			}
			return strings.FieldsFunc(text, func(r rune) bool { return r == ',' })
		}
		mine := w.node.Name.String()
		if kind == "zone" {
			mine = w.node.Zone.String()
		}
		every, one := true, false
		for _, e := range list {
			if e.Has(cluster.Ready) {
				every = every && len(hints(e)) > 0
				one = one || mine != "" && slices.Contains(hints(e), mine)
			}
		}
		if every && one {
			return slices.DeleteFunc(slices.Clone(list), func(e endpoint) bool {
				return e.Has(cluster.Ready) && !slices.Contains(hints(e), mine)
			})
		}
	}
	return list
}
