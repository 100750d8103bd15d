package signpost

import (
	"net/netip"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// nodeKind tells what stands at a name of the tree. Every name has exactly one
// kind, so NXDOMAIN (missing) and NODATA (any other kind without records of the
// asked type) need no special cases (RFC 8020, RFC 4592 §2.2.2).
type nodeKind uint8

const (
	missing    nodeKind = iota
	empty               // an inner node: it exists because something below it does
	apex                // SOA, NS
	nameserver          // ns.dns: the addresses of this server
	version             // dns-version: the TXT record of the specification
	clusterIP           // A, AAAA, SRV of a Service with its own address
	headless            // A, AAAA, SRV of the ready endpoints
	external            // CNAME
	portName            // _port._protocol: SRV only
	endpoint            // one endpoint's label below its Service: A, AAAA, SRV
	inZone              // the ready endpoints of a headless Service in one zone: A, AAAA, SRV
	pod                 // dashed address below pod: A or AAAA
	pointer             // a full reverse name: PTR
	why                 // _why before any name: TXT that explains
	nodeKinds
)

// node is one name of the tree.
type node struct {
	kind  nodeKind
	entry *cluster.Entry   // clusterIP, headless, external, portName, endpoint, inZone
	label string           // endpoint: its label; portName: the port's name; inZone: the zone; why: the name
	proto cluster.Protocol // portName
	addr  netip.Addr       // pod, pointer; endpoint if the label is an address

	outside bool // clusterIP, external, portName: as clients outside the cluster see it
}

var (
	nodeMissing = node{kind: missing}
	nodeEmpty   = node{kind: empty}
)

// emptyIf is an inner node where the condition holds.
func emptyIf(exists bool) node {
	if exists {
		return nodeEmpty
	}
	return nodeMissing
}

// forward finds a name of a forward zone, given relative to the zone in lower case.
func (s *Signpost) forward(z *zone, name string) node {
	if strings.IndexByte(name, '\\') >= 0 {
		return nodeMissing // an escaped byte is in no Kubernetes name
	}
	rest, label := cutLast(name)
	switch label {
	case "":
		return node{kind: apex}
	case "svc":
		return s.serviceTree(z, rest)
	case "pod":
		if z.tree == clusterTree {
			return s.podTree(rest)
		}
	case "dns":
		switch rest {
		case "":
			return nodeEmpty
		case "ns":
			return node{kind: nameserver}
		}
	case "dns-version":
		if rest == "" {
			return node{kind: version}
		}
	}
	return nodeMissing
}

// serviceTree finds a name below svc.
func (s *Signpost) serviceTree(z *zone, name string) node {
	if name == "" {
		return nodeEmpty
	}
	name, namespace := cutLast(name)
	if name == "" {
		return emptyIf(s.store.Namespace(namespace) || z.tree == clustersetTree && s.store.Imports().Namespace(namespace))
	}
	name, service := cutLast(name)
	e := s.index(z).Service(namespace, service)
	kind := serviceKind(e)
	if kind == clusterIP && s.ignoreEmpty && !e.HasReady() {
		return nodeMissing
	}
	if name == "" || kind == missing {
		return node{kind: kind, entry: e}
	}
	if kind == external {
		return nodeMissing // a CNAME has nothing below it
	}
	if z.tree == clustersetTree {
		return belowImport(e, kind, name)
	}
	if rest, label := cutLast(name); label == zoneLabel && s.zonal {
		return zoneNode(e, kind, rest)
	}
	return below(e, kind, name)
}

// serviceKind says what a Service publishes at its own name. A headless Service
// without ready endpoints does not exist (specification 1.1.0, §2.4.1).
func serviceKind(e *cluster.Entry) nodeKind {
	switch {
	case e == nil:
		return missing
	case e.Service.Type == cluster.ExternalName:
		return externalKind(e.Service.External)
	case e.Service.Headless:
		if !e.HasReady() {
			return missing
		}
		return headless
	case len(e.Service.ClusterIPs) == 0:
		return missing // nobody allocated an address yet
	}
	return clusterIP
}

// externalKind is that of an ExternalName Service: missing if there is no name to
// point a CNAME at.
func externalKind(x *cluster.External) nodeKind {
	if x == nil || x.Name == "" {
		return missing
	}
	return external
}

// below finds a name under a Service's own: an endpoint's label, or a port.
func below(e *cluster.Entry, kind nodeKind, name string) node {
	rest, label := cutLast(name)
	protocol, isProtocol := protocolOf(label)
	switch {
	case isProtocol && rest == "":
		return emptyIf(hasPort(e, kind, "", protocol))
	case isProtocol:
		port, underscored := strings.CutPrefix(rest, "_")
		if !underscored || port == "" || !hasPort(e, kind, port, protocol) {
			return nodeMissing
		}
		return node{kind: portName, entry: e, label: port, proto: protocol}
	case rest != "":
		return nodeMissing
	}
	n := node{kind: endpoint, entry: e, label: label, addr: parseDashed(label)}
	if !n.hasEndpoint() {
		return nodeMissing
	}
	return n
}

// protocolOf reads the label of a protocol: _tcp, _udp or _sctp (RFC 2782).
func protocolOf(label string) (cluster.Protocol, bool) {
	switch label {
	case "_tcp":
		return cluster.TCP, true
	case "_udp":
		return cluster.UDP, true
	case "_sctp":
		return cluster.SCTP, true
	}
	return 0, false
}

// hasPort reports whether a port of that name and protocol is published; an empty
// name asks for any named one. Ports without a name have no name in DNS.
func hasPort(e *cluster.Entry, kind nodeKind, name string, protocol cluster.Protocol) bool {
	matches := func(n string, p cluster.Protocol) bool {
		return p == protocol && n != "" && (name == "" || n == name)
	}
	if kind == clusterIP {
		for i := range e.Service.Ports {
			if p := &e.Service.Ports[i]; matches(p.Name, p.Protocol) {
				return true
			}
		}
		return false
	}
	for ep, ports := range e.Endpoints() {
		if !ep.Has(cluster.Ready) {
			continue
		}
		for i := range ports {
			if matches(ports[i].Name, ports[i].Protocol) {
				return true
			}
		}
	}
	return false
}

// podTree finds a name below pod.
func (s *Signpost) podTree(name string) node {
	if name == "" {
		return nodeEmpty
	}
	name, namespace := cutLast(name)
	if !s.store.Namespace(namespace) {
		return nodeMissing
	}
	if name == "" {
		return nodeEmpty
	}
	if s.pods == podsDisabled || strings.IndexByte(name, '.') >= 0 {
		return nodeMissing
	}
	addr := parseDashed(name)
	if !addr.IsValid() || s.pods == podsVerified && s.store.PodAt(namespace, addr) == nil {
		return nodeMissing
	}
	return node{kind: pod, addr: addr}
}

// readyEndpoints yields the endpoints that a name stands for, with their ports.
func (n *node) readyEndpoints() func(func(*cluster.Endpoint, []cluster.Port) bool) {
	return func(yield func(*cluster.Endpoint, []cluster.Port) bool) {
		for _, slice := range n.entry.Slices {
			if n.kind == endpoint && n.addr.IsValid() {
				for i, list := 0, slice.At(n.addr); i < len(list); i++ {
					if ep := &list[i]; ep.Hostname == "" && n.standsFor(ep) && !yield(ep, slice.Ports) {
						return
					}
				}
			}
			for i := range slice.Endpoints {
				ep := &slice.Endpoints[i]
				if n.kind == endpoint && ep.Hostname == "" || !n.standsFor(ep) {
					continue
				}
				if !yield(ep, slice.Ports) {
					return
				}
			}
		}
	}
}

// addresses appends the addresses of a family that a name stands for, each once.
func (n *node) addresses(dst []netip.Addr, rrtype uint16) []netip.Addr {
	var seen map[netip.Addr]bool // needed only where endpoints share an address
	for ep := range n.readyEndpoints() {
		if familyType(ep.Addr) != rrtype {
			continue
		}
		if seen == nil && ep.Has(cluster.Repeated) {
			seen = map[netip.Addr]bool{}
			for _, a := range dst {
				seen[a] = true
			}
		}
		if seen[ep.Addr] {
			continue
		}
		if seen != nil {
			seen[ep.Addr] = true
		}
		dst = append(dst, ep.Addr)
	}
	return dst
}

// standsFor reports whether a ready endpoint is one of this name's.
func (n *node) standsFor(ep *cluster.Endpoint) bool {
	if !ep.Has(cluster.Ready) {
		return false
	}
	switch n.kind {
	case endpoint:
	case inZone:
		return strings.EqualFold(ep.Zone.String(), n.label)
	default:
		return true
	}
	if ep.Hostname != "" {
		return ep.Hostname == n.label
	}
	var buf [dashedSize]byte
	return string(appendDashed(buf[:0], ep.Addr)) == n.label
}
