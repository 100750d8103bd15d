package vip

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Port is a port of a node.
type Port struct {
	Number   uint16
	Protocol cluster.Protocol // 0: every protocol
}

// Guard is what no Service takes by an external address, a NodePort or a health check
// port. The zero Guard guards nothing.
type Guard struct {
	// ServiceCIDRs are the ranges of ClusterIPs: no external address is inside them.
	ServiceCIDRs []netip.Prefix
	// Ports are those that the node itself serves: its kubelet's, ours, and those that the
	// user lists. They are guarded on every node.
	Ports []Port
	// API are the endpoints of default/kubernetes, sorted. They are guarded wherever they
	// are, and their ports at all addresses of this node if it has one of them.
	API []netip.AddrPort
	// Known are the addresses by which this node is known, and Others those of other nodes,
	// as far as they are known; sorted.
	Known, Others []netip.Addr
	// Machine are all addresses of this machine, sorted. External IPs are guarded at these
	// too. The address of a load balancer may be on an interface of a node for no other
	// reason than that it serves it (kube-vip), so that it may have any port there.
	Machine []netip.Addr
}

// samePorts reports whether g and o guard the same NodePorts.
func (g *Guard) samePorts(o *Guard) bool {
	return slices.Equal(g.Ports, o.Ports) && slices.Equal(g.localAPI(), o.localAPI())
}

// localAPI are the ports of an API server that runs on this node.
func (g *Guard) localAPI() []uint16 {
	var ports []uint16
	for _, e := range g.API {
		if g.runsAPI() && !slices.Contains(ports, e.Port()) {
			ports = append(ports, e.Port())
		}
	}
	slices.Sort(ports)
	return ports
}

func (g *Guard) runsAPI() bool {
	return slices.ContainsFunc(g.API, func(e netip.AddrPort) bool { return g.hasMachine(e.Addr()) })
}

// Differences are the networks whose external addresses g and o may treat differently,
// if they guard the same NodePorts.
func (g *Guard) Differences(o *Guard) []netip.Prefix {
	list := slices.Concat(differ(g.ServiceCIDRs, o.ServiceCIDRs), differ(o.ServiceCIDRs, g.ServiceCIDRs))
	for _, both := range [][2][]netip.Addr{{g.Known, o.Known}, {g.Others, o.Others}, {g.Machine, o.Machine}, {g.apiAddrs(), o.apiAddrs()}} {
		for _, a := range slices.Concat(differ(both[0], both[1]), differ(both[1], both[0])) {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return list
}

func (g *Guard) apiAddrs() (list []netip.Addr) {
	for _, e := range g.API {
		list = append(list, e.Addr())
	}
	return list
}

// differ are the elements of list that other does not have.
func differ[T comparable](list, other []T) (out []T) {
	there := make(map[T]bool, len(other))
	for _, o := range other {
		there[o] = true
	}
	for _, e := range list {
		if !there[e] {
			out = append(out, e)
		}
	}
	return out
}

func has(sorted []netip.Addr, a netip.Addr) bool {
	_, found := slices.BinarySearchFunc(sorted, a, netip.Addr.Compare)
	return found
}

func (g *Guard) hasMachine(a netip.Addr) bool { return has(g.Known, a) || has(g.Machine, a) }

// isHere reports whether a frontend of a kind is at an address of this node.
func (g *Guard) isHere(k Kind, a netip.Addr) bool {
	return a.IsUnspecified() || has(g.Known, a) || k == ExternalIP && has(g.Machine, a)
}

// elsewhere reports whether an address is one of another node.
func (g *Guard) elsewhere(a netip.Addr) bool {
	return has(g.Others, a) && !g.hasMachine(a)
}

// refuses returns why a Service must not have a frontend; empty if it may. A reason
// without port concerns the whole address.
func (g *Guard) refuses(k Kind, f Frontend) (reason string, all bool) {
	if k == ClusterIP || k == OtherPorts {
		return "", false
	}
	if i := slices.IndexFunc(g.ServiceCIDRs, func(p netip.Prefix) bool { return p.Contains(f.Addr) }); i >= 0 && k.isOutside() {
		return fmt.Sprintf("it is in %v, a range of ClusterIPs", g.ServiceCIDRs[i]), true
	}
	if f.Protocol == cluster.TCP && g.isAPI(k, f) {
		return "it is the API server's port (endpoints of default/kubernetes)", false
	}
	if slices.ContainsFunc(g.Ports, func(p Port) bool {
		return p.Number == f.Port && (p.Protocol == 0 || p.Protocol == f.Protocol)
	}) && (g.isHere(k, f.Addr) || g.elsewhere(f.Addr)) {
		return "it is a port of the node itself (kubelet, forwarder or --protected-node-ports)", false
	}
	return "", false
}

func (g *Guard) isAPI(k Kind, f Frontend) bool {
	if _, found := slices.BinarySearchFunc(g.API, netip.AddrPortFrom(f.Addr, f.Port), netip.AddrPort.Compare); found {
		return true
	}
	return g.isHere(k, f.Addr) && g.runsAPI() &&
		slices.ContainsFunc(g.API, func(e netip.AddrPort) bool { return e.Port() == f.Port })
}

// Refusal is what a Service asks for and does not get.
type Refusal struct {
	Frontend        // IsOtherPorts: the whole address
	Kind     Kind   // by which it asks
	Why      string // one line
}

// String says what is refused and why.
func (r Refusal) String() string {
	what := r.Frontend.String()
	if r.IsOtherPorts() {
		what = r.Addr.String()
	}
	return fmt.Sprintf("%v %s is refused: %s", r.Kind, what, r.Why)
}

// Refused are what Build leaves out of a Service because the Guard of the node refuses
// it, in the order of Frontend.Compare: of the first MaxFrontends that it asks for.
func Refused(e *cluster.Entry, n Node) []Refusal {
	if !routed(e) {
		return nil
	}
	s := e.Service
	var list []Refusal
	room := MaxFrontends
	ask := func(k Kind, f Frontend) {
		room--
		if why, all := n.Guard.refuses(k, f); why != "" {
			if all {
				f = Frontend{Addr: f.Addr}
			}
			list = append(list, Refusal{f, k, why})
		}
	}
	for _, ip := range s.ClusterIPs {
		for _, p := range s.Ports {
			if p.NodePort != 0 {
				ask(NodePort, Frontend{anyNode(ip.Is4()), p.NodePort, p.Protocol})
			}
			for k, a := range outside(s, ip, &n) {
				if room <= 0 {
					break
				}
				ask(k, Frontend{a, p.Number, p.Protocol})
			}
		}
		if port := checkPort(s); port != 0 {
			ask(HealthCheck, Frontend{anyNode(ip.Is4()), port, cluster.TCP})
		}
	}
	slices.SortStableFunc(list, func(a, b Refusal) int { return a.Compare(b.Frontend) })
	return slices.CompactFunc(list, func(a, b Refusal) bool { return a.Frontend == b.Frontend })
}
