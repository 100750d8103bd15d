package vip

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Frontend is what a client dials.
type Frontend struct {
	Addr     netip.Addr // AnyNode4 or AnyNode6 for a NodePort
	Port     uint16     // 0, with protocol 0: all that no other frontend of the address is
	Protocol cluster.Protocol
}

// AnyNode4 and AnyNode6 stand for every address of this node that serves
// NodePorts: see Host.ServesNodePorts.
var (
	AnyNode4 = netip.IPv4Unspecified()
	AnyNode6 = netip.IPv6Unspecified()
)

// IsNodePort reports whether the frontend is a port of the node itself.
func (f Frontend) IsNodePort() bool { return f.Addr.IsUnspecified() }

// IsOtherPorts reports whether the frontend is the rest of an address: every port
// and protocol that has no frontend of its own.
func (f Frontend) IsOtherPorts() bool { return f.Port == 0 && f.Protocol == 0 }

// Compare orders frontends by address, protocol and port.
func (f Frontend) Compare(g Frontend) int {
	return cmp.Or(f.Addr.Compare(g.Addr), cmp.Compare(f.Protocol, g.Protocol), cmp.Compare(f.Port, g.Port))
}

// Kind is where a frontend's address comes from.
type Kind uint8

// The kinds of frontends.
const (
	ClusterIP    Kind = iota // spec.clusterIPs
	ExternalIP               // spec.externalIPs
	LoadBalancer             // status.loadBalancer.ingress[].ip
	NodePort                 // spec.ports[].nodePort
	// OtherPorts is all of a ClusterIP that no frontend is: it is refused, so that a
	// typing error shows at once. Dataplanes look at it after translation (in the hooks
	// forward and output), so that others may serve what is left.
	OtherPorts
	// HealthCheck is spec.healthCheckNodePort: a port of the node that this process
	// itself answers (the action is Accept). A dataplane that filters lets it through;
	// for the others it is nothing to do.
	HealthCheck
	Kinds // how many there are
)

// String gives the name that operators know.
func (k Kind) String() string {
	return [...]string{"ClusterIP", "ExternalIP", "LoadBalancer", "NodePort", "OtherPorts", "HealthCheck"}[k]
}

// Class is where a packet comes from: the same frontend may treat a pod, the node
// itself and the rest of the world differently. A packet is of the first class that
// fits, in this order.
type Class uint8

// The source classes.
const (
	FromPod     Class = iota // a pod, by the configured way to tell: Host.Pods
	FromNode                 // its source address is one of this node
	FromOutside              // everybody else
	Classes                  // how many there are
)

// String gives the class as Table.String prints it.
func (c Class) String() string { return [...]string{"pod", "node", "outside"}[c] }

// Action is what happens to a new connection.
type Action uint8

// The actions.
const (
	Forward Action = iota // to one of the backends
	Reject                // refuse at once: TCP reset, else ICMP port unreachable
	Drop                  // say nothing
	Accept                // leave it alone: a process of this node answers
)

// Set says which backends of a route a decision means.
type Set uint8

// The sets of backends.
const (
	Cluster Set = iota // those of all nodes, or the nearer ones of them by their hints
	Local              // those of this node
)

// Decision is what happens to new connections of one class.
type Decision struct {
	Action     Action
	Set        Set  // with Forward: to which backends, of which there are some
	Masquerade bool // with Forward: replace the source address by one of this node
}

// Backend is what serves a frontend.
type Backend struct {
	netip.AddrPort
	Local bool // on this node: it may dial its own VIP, and needs masquerading then (hairpin)
}

// Owner is the Service port that a frontend belongs to.
type Owner struct {
	Service cluster.Key
	Port    string // name of the port; empty for the only one
}

// String gives namespace/name:port, the form in comments, logs and metrics.
func (o Owner) String() string {
	if o.Port == "" {
		return o.Service.String()
	}
	return o.Service.String() + ":" + o.Port
}

// Route is one frontend with its policy and its backends. It is immutable; the
// backends are shared by all frontends of a Service port.
type Route struct {
	Frontend
	Kind    Kind
	Owner   Owner
	Created int64 // of the Service, in Unix seconds: of two claims of one kind the older wins

	// Sources are the networks whose packets the frontend takes; those of others are
	// dropped, whatever their class and before the decision. They are sorted, and none
	// is inside or beside another so that the two were one. Nil: everybody's; empty:
	// nobody's.
	Sources []netip.Prefix
	Policy  Policy

	// The backends of the sets, sorted by address, none twice; nil where the policy does
	// not lead to them.
	Cluster, Local []Backend

	// Affinity is for how many seconds after its last new connection a client (a source
	// address) gets the same backend, as long as its decision leads to it. The memory
	// is that of the Owner: all frontends of a Service port share it. 0: no affinity.
	Affinity uint32
	// Scheduler is what the annotation signpost.dev/scheduler asks for. A dataplane that
	// has no such scheduler takes its own.
	Scheduler string
	// Healthy is, with Kind HealthCheck, how many endpoints of this node are ready.
	Healthy int
	// OnOtherNode says that the external address is one of another node, as far as that is
	// known. A dataplane must not make it this node's own: that node could not be reached.
	OnOtherNode bool
}

// Backends are the backends of a set.
func (r *Route) Backends(s Set) []Backend {
	if s == Local {
		return r.Local
	}
	return r.Cluster
}

// Reachable are the backends of both sets, sorted, none twice. It must not be changed.
func (r *Route) Reachable() []Backend {
	switch {
	case len(r.Local) == 0:
		return r.Cluster
	case len(r.Cluster) == 0:
		return r.Local
	}
	return sorted(slices.Concat(r.Cluster, r.Local))
}

// sorted sorts backends by address and leaves each once.
func sorted(list []Backend) []Backend {
	slices.SortFunc(list, func(a, b Backend) int { return a.Compare(b.AddrPort) })
	return slices.CompactFunc(list, func(a, b Backend) bool { return a.AddrPort == b.AddrPort })
}

// equal reports whether two routes lead to the same kernel state and text.
func (r *Route) equal(o *Route) bool {
	return r.Frontend == o.Frontend && r.Kind == o.Kind && r.Owner == o.Owner &&
		(r.Sources == nil) == (o.Sources == nil) && slices.Equal(r.Sources, o.Sources) &&
		r.Policy == o.Policy && slices.Equal(r.Cluster, o.Cluster) && slices.Equal(r.Local, o.Local) &&
		r.Affinity == o.Affinity && r.Scheduler == o.Scheduler && r.Healthy == o.Healthy && r.OnOtherNode == o.OnOtherNode
}

// String gives address, protocol and port: 10.96.0.1 tcp 443.
func (f Frontend) String() string {
	if f.IsOtherPorts() {
		return addrText(f.Addr) + " * *"
	}
	return fmt.Sprintf("%s %v %d", addrText(f.Addr), f.Protocol, f.Port)
}
