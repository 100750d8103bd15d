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
	Port     uint16
	Protocol cluster.Protocol
}

// AnyNode4 and AnyNode6 stand for every address of this node that serves
// NodePorts; the dataplane knows which (Node.Addrs).
var (
	AnyNode4 = netip.IPv4Unspecified()
	AnyNode6 = netip.IPv6Unspecified()
)

// IsNodePort reports whether the frontend is a port of the node itself.
func (f Frontend) IsNodePort() bool { return f.Addr.IsUnspecified() }

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
)

// String gives the name that operators know.
func (k Kind) String() string {
	return [...]string{"ClusterIP", "ExternalIP", "LoadBalancer", "NodePort"}[k]
}

// Class is where a packet comes from: the same frontend may treat a pod, the node
// itself and the rest of the world differently.
type Class uint8

// The source classes.
const (
	FromPod     Class = iota // a pod, by the configured way to tell (detectLocal)
	FromNode                 // this node itself
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
)

// Decision is what happens to new connections of one class.
type Decision struct {
	Action     Action
	Masquerade bool // replace the source address by one of this node
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
	Kind      Kind
	Owner     Owner
	Created   int64 // of the Service, in Unix seconds: the oldest claim of a frontend wins
	Decisions [Classes]Decision
	Backends  []Backend // sorted by address, none twice
}

// equal reports whether two routes lead to the same kernel state and text.
func (r *Route) equal(o *Route) bool {
	return r.Frontend == o.Frontend && r.Kind == o.Kind && r.Owner == o.Owner &&
		r.Decisions == o.Decisions && slices.Equal(r.Backends, o.Backends)
}

// String gives address, protocol and port: 10.96.0.1 tcp 443.
func (f Frontend) String() string {
	return fmt.Sprintf("%s %v %d", addrText(f.Addr), f.Protocol, f.Port)
}
