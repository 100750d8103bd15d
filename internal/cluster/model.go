package cluster

import (
	"net/netip"
	"strings"
	"unique"
)

// Key names a namespaced object. The namespace is empty for Namespaces and Nodes.
type Key struct{ Namespace, Name string }

// String gives the form that kubectl and log lines use: namespace/name.
func (k Key) String() string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// Kind is the kind of object that a Ref names.
type Kind uint8

// The kinds of objects that a Store holds.
const (
	KindService Kind = iota
	KindSlice
	KindNamespace
	KindPod
	KindNode
	KindServiceCIDR
	KindServiceImport
	KindImportedSlice
	kindCount
)

// String gives the API's plural, as in `kubectl get`.
func (k Kind) String() string {
	names := [kindCount]string{"services", "endpointslices", "namespaces", "pods", "nodes", "servicecidrs", "serviceimports", "imported endpointslices"}
	if k < kindCount {
		return names[k]
	}
	return "unknown"
}

// Namespaced reports whether objects of the kind are in a namespace.
func (k Kind) Namespaced() bool {
	switch k {
	case KindNamespace, KindNode, KindServiceCIDR:
		return false
	}
	return true
}

// Ref identifies one object in a Store.
type Ref struct {
	Kind Kind
	Key  Key
}

// Object is what a Store takes: *Service, *Slice, *Namespace, *Pod, *Node,
// *ServiceCIDR, *ServiceImport or *ImportedSlice.
// It belongs to the Store once put, and must not be changed afterwards.
type Object interface {
	Ref() Ref
	put(*write) // unexported, so that the set of kinds is closed
}

// Protocol is an IANA protocol number, as it stands in an IP header.
type Protocol uint8

// The protocols of Service ports.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String gives the lower-case name as DNS labels have it (RFC 6335): tcp, udp, sctp.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return "unknown"
}

// Atom is an interned string: many endpoints share few node and zone names, and
// comparing two Atoms compares two pointers. The zero Atom is the empty string.
type Atom struct{ handle unique.Handle[string] }

// MakeAtom interns s.
func MakeAtom(s string) Atom {
	if s == "" {
		return Atom{}
	}
	return Atom{unique.Make(s)}
}

// Lists reports whether the comma-separated list a has b in it.
func (a Atom) Lists(b Atom) bool {
	if a == b || a == (Atom{}) || b == (Atom{}) {
		return a == b && a != Atom{}
	}
	for name := range strings.SplitSeq(a.String(), ",") {
		if name == b.String() {
			return true
		}
	}
	return false
}

// String gives the interned text.
func (a Atom) String() string {
	if a == (Atom{}) {
		return ""
	}
	return a.handle.Value()
}

// MarshalBinary implements encoding.BinaryMarshaler by the text.
func (a Atom) MarshalBinary() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (a *Atom) UnmarshalBinary(text []byte) error {
	*a = MakeAtom(string(text))
	return nil
}

// ServiceType is spec.type of a Service.
type ServiceType uint8

// The types of the API, in the order in which each includes the one before it.
const (
	ClusterIP ServiceType = iota
	NodePort
	LoadBalancer
	ExternalName
)

// Service is a Service object without its endpoints.
type Service struct {
	Key
	Version  uint64 // resourceVersion
	Type     ServiceType
	Headless bool // spec.clusterIP is None
	// InternalLocal and ExternalLocal are the traffic policies Local: clients of the
	// ClusterIP, or of the other addresses, get only endpoints on their node.
	InternalLocal, ExternalLocal bool
	Created                      uint32       // metadata.creationTimestamp in Unix seconds: of two claims of one kind the older wins
	ClusterIPs                   []netip.Addr // at most one per family; empty when Headless or ExternalName
	Ports                        []ServicePort
	External                     *External // nil for most Services
}

// Ref implements Object.
func (s *Service) Ref() Ref { return Ref{KindService, s.Key} }

// External is the part of a Service that few Services have: addresses and names outside the
// cluster, and the rules for clients that use them.
type External struct {
	Name string       // spec.externalName, without a final dot; only with type ExternalName
	IPs  []netip.Addr // spec.externalIPs
	LB   []netip.Addr // status.loadBalancer.ingress[].ip
	// Hosts is status.loadBalancer.ingress[].hostname, without a final dot: a load
	// balancer that has no address for us, only a name.
	Hosts []string
	// Proxied are those of LB that lead to the load balancer itself (ipMode Proxy):
	// nodes must not take their packets.
	Proxied []netip.Addr
	Policy
}

// Policy says which clients may use a Service, and how.
type Policy struct {
	// Sources is spec.loadBalancerSourceRanges. A range that could not be read is there as
	// 0.0.0.0/32 and ::/128: no client has these addresses, but the list is not empty.
	Sources         []netip.Prefix
	Affinity        uint32 // seconds of sessionAffinity ClientIP; 0: None
	HealthCheckPort uint16 // spec.healthCheckNodePort; 0: none
	Scheduler       string // the annotation signpost.dev/scheduler
}

// ServicePort is one of spec.ports.
type ServicePort struct {
	Name     string // empty for the only port of a Service; else a DNS label
	Number   uint16
	NodePort uint16 // 0 when none is allocated
	Protocol Protocol
}

// Slice is an EndpointSlice of address type IPv4 or IPv6.
type Slice struct {
	Key              // of the EndpointSlice
	Service   Key    // from the label kubernetes.io/service-name
	Version   uint64 // resourceVersion: of two slices that list one pod on the same ports the newer is right
	Ports     []Port
	Endpoints []Endpoint // sorted by address; several may have the same: see NewSlice
	Cluster   Atom       // where the endpoints are; empty: in this cluster

	ready4, ready6 int32  // ready endpoints per family that are not Repeated
	repeated       int32  // those that are
	portsHash      uint32 // of Ports
}

// Ref implements Object.
func (s *Slice) Ref() Ref { return Ref{KindSlice, s.Key} }

// Port is where an endpoint listens: the target port's number under the Service port's name.
type Port struct {
	Name     string
	Number   uint16
	Protocol Protocol
}

// Endpoint is one pod that serves a Service, at one of its addresses. Several pods may
// have the same address: one that terminates and one that was given its address, pods
// in the network of a node, a virtual machine that migrates.
type Endpoint struct {
	Addr     netip.Addr
	Hostname string // its label below the Service's name; empty: the dashed address stands for it
	Node     Atom
	Zone     Atom
	// ForZones and ForNodes are the hints: from where the endpoint should get traffic.
	// They are lists, nearly always of one: see Atom.Lists.
	ForZones, ForNodes Atom
	Conditions
	Pod PodID
}

// PodID distinguishes a pod that moves from one slice to another from two pods that share an
// address. 0 is an endpoint without targetRef; its slice and its place there identify it.
//
// It is a hash of 32 bits, which fits into the padding of an Endpoint. Two IDs are compared
// only if two slices of one Service list the same address on the same ports. One such pair
// in 4 billion is taken for one pod by chance. A user that makes a pair on purpose hides an
// endpoint of its own Service.
type PodID uint32

// MakePodID returns the ID of the pod with these names. It is the same in every process.
func MakePodID(names ...string) PodID {
	h := newHash()
	for _, name := range names {
		h = h.text(name)
	}
	return PodID(max(h, 1))
}

// hash is FNV-1a of 32 bits. It is not the standard library's because that takes bytes
// behind an interface, for every endpoint of a list.
type hash uint32

func newHash() hash { return 2166136261 }

func (h hash) byte(b byte) hash { return (h ^ hash(b)) * 16777619 }

// text adds a string and its end.
func (h hash) text(s string) hash {
	for i := range len(s) {
		h = h.byte(s[i])
	}
	return h.byte(0)
}

// Conditions of an endpoint (EndpointConditions, KEP-1672), plus some of our own.
type Conditions uint8

// The bits of Conditions.
const (
	Ready       Conditions = 1 << iota // takes new connections
	Serving                            // answers, even while it terminates
	Terminating                        // its pod has a deletion timestamp
	// Additional marks an address that is not the first of its endpoint: it has names
	// like any other, and no route (discovery/v1: no semantics are defined for it).
	Additional
	// Repeated marks a ready endpoint whose address an earlier ready endpoint of the
	// Service has: the address is counted there. Name, ports and node are its own.
	// Only NewSlice and the Store set it.
	Repeated
	// Superseded marks a pod that a newer slice of the Service lists too, on the same
	// ports. That slice is right, and here the pod has no other conditions.
	// Only the Store sets it.
	Superseded
)

// Has reports whether all bits of want are set.
func (c Conditions) Has(want Conditions) bool { return c&want == want }

// Namespace says that a namespace exists.
type Namespace struct{ Name string }

// Ref implements Object.
func (n *Namespace) Ref() Ref { return Ref{KindNamespace, Key{Name: n.Name}} }

// Pod is a running pod and its addresses: what `pods verified` asks for.
type Pod struct {
	Key
	Addrs  []netip.Addr
	Labels Labels // empty unless the feed is configured to keep them
}

// Ref implements Object.
func (p *Pod) Ref() Ref { return Ref{KindPod, p.Key} }

// Node is a node, its addresses and its zone (label topology.kubernetes.io/zone).
type Node struct {
	Name     string
	Addrs    []netip.Addr // InternalIP first
	PodCIDRs []netip.Prefix
	Zone     Atom
	Leaving  bool // it is about to be deleted: nothing new should be sent to it
	// KubeletPort is status.daemonEndpoints.kubeletEndpoint.Port; 0: unknown.
	KubeletPort uint16
}

// Ref implements Object.
func (n *Node) Ref() Ref { return Ref{KindNode, Key{Name: n.Name}} }
