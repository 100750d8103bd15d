package signpost

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

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

// zoneLabel stands between a headless Service and the topology zones of its
// endpoints, with the option zonal:
//
//	ZONE.pin._zone.SERVICE.NAMESPACE.svc     the endpoints in that zone, or nothing
//	ZONE.prefer._zone.SERVICE.NAMESPACE.svc  the same, or all if there are none
//
// ZONE may have dots, as the value of the label topology.kubernetes.io/zone may.
// Every zone counts as one that exists: whether endpoints are in it changes by the
// minute, and NODATA is what a client can tell from a Service that is not there.
const zoneLabel = "_zone"

// zoneNode finds what stands left of _zone below a Service. ClusterIPs are in no zone.
func zoneNode(e *cluster.Entry, kind nodeKind, name string) node {
	if kind != headless {
		return nodeMissing
	}
	if name == "" {
		return nodeEmpty
	}
	name, how := cutLast(name)
	if how != "pin" && how != "prefer" {
		return nodeMissing
	}
	if name == "" {
		return nodeEmpty
	}
	n := node{kind: inZone, entry: e, label: name}
	if how == "prefer" && !n.hasEndpoint() {
		return node{kind: headless, entry: e}
	}
	return n
}

func (n *node) hasEndpoint() bool {
	for range n.readyEndpoints() {
		return true
	}
	return false
}

// countReady counts the addresses of a family that the name of a headless Service
// stands for, or one of its zones if no endpoints share an address.
func (n *node) countReady(rrtype uint16) int {
	if n.kind == inZone {
		count := 0
		for ep := range n.readyEndpoints() {
			if familyType(ep.Addr) == rrtype {
				count++
			}
		}
		return count
	}
	v4, v6 := n.entry.Ready()
	if rrtype == dns.TypeAAAA {
		return v6
	}
	return v4
}

// outsideNode finds a name of a zone for clients outside the cluster, relative to
// the zone and in lower case: SERVICE.NAMESPACE, without svc.
func (s *Signpost) outsideNode(name string) node {
	rest, label := cutLast(name)
	own := s.outside.label()
	switch {
	case label == "":
		return node{kind: apex}
	case label == own && rest == "":
		return nodeEmpty
	case label == own && rest == "ns1":
		return node{kind: nameserver}
	case label == own:
		return nodeMissing
	case rest == "":
		return emptyIf(s.store.Namespace(label))
	}
	rest, service := cutLast(rest)
	e := s.store.Service(label, service)
	kind := s.outsideKind(e)
	if rest == "" || kind == missing {
		return node{kind: kind, entry: e, outside: kind != headless}
	}
	if kind == headless {
		return below(e, headless, rest)
	}
	n := below(e, clusterIP, rest) // by the ports of the Service
	if n.kind == endpoint {
		return nodeMissing // endpoints stand behind the address
	}
	n.outside = true
	return n
}

// outsideKind says what a Service publishes outside the cluster: its addresses
// there, else the name of its load balancer, else its endpoints where the option
// headless says so.
func (s *Signpost) outsideKind(e *cluster.Entry) nodeKind {
	switch {
	case e == nil || e.Service.Type == cluster.ExternalName:
		return missing
	case e.Service.External != nil && len(e.Service.External.IPs)+len(e.Service.External.LB) > 0:
		return clusterIP
	case e.Service.External != nil && len(e.Service.External.Hosts) > 0:
		return external
	case s.outside.headless && e.Service.Headless && e.HasReady():
		return headless
	}
	return missing
}

// addrs are those of a Service, in the cluster or outside.
func (n *node) addrs() []netip.Addr {
	if n.outside {
		return n.entry.Service.Outside()
	}
	return n.entry.Service.ClusterIPs
}

// outsideNames are the names of Services that have the address outside.
func (s *Signpost) outsideNames(a netip.Addr) []string {
	var names []string
	home := outsideHome(s.outside.zones)
	for o := s.store.OwnersOutside(a); o.Valid(); o = o.Next() {
		if e := o.Entry(); e != nil && e.Service.Type != cluster.ExternalName {
			names = append(names, join(e.Service.Name+"."+e.Service.Namespace, home))
		}
	}
	return fitting(names...)
}

// pointersIn returns the names that an address has by a reverse zone.
func (s *Signpost) pointersIn(z *zone, a netip.Addr) (names []string) {
	if z.inside {
		names = s.pointers(a)
		if name, has := s.importPointer(a); has && len(names) == 0 {
			names = []string{name}
		}
	}
	if z.outside {
		names = append(names, s.outsideNames(a)...)
	}
	return names
}

// Names of Services of a set of clusters, clusterset.local: see KEP-1645 and its
// specification 1.0.0, multi-cluster DNS. They are those of ServiceImports, which
// the index holds as Services with the endpoints of all clusters.

// belowImport finds a name under that of a ServiceImport: a port, or an endpoint of
// one cluster if it is headless. That of a set with an address must not lead to the
// backends of one cluster (specification §2.3.4).
func belowImport(e *cluster.Entry, kind nodeKind, name string) node {
	rest, label := cutLast(name)
	if _, isProtocol := protocolOf(label); isProtocol {
		return below(e, kind, name)
	}
	if kind != headless {
		return nodeMissing
	}
	part := inCluster(e, label)
	switch {
	case !part.HasReady():
		return nodeMissing
	case rest == "":
		return nodeEmpty
	}
	n := below(part, headless, rest)
	if n.kind == endpoint {
		return n
	}
	return nodeMissing
}

// inCluster is what a ServiceImport has in one cluster.
func inCluster(e *cluster.Entry, id string) *cluster.Entry {
	part := &cluster.Entry{Service: e.Service}
	for _, sl := range e.Slices {
		if sl.Cluster.String() == id {
			part.Slices = append(part.Slices, sl)
		}
	}
	return part
}

// clustersOf are the ids of the clusters where a ServiceImport has slices, each once.
func clustersOf(e *cluster.Entry) []string {
	var ids []string
	for _, sl := range e.Slices {
		if id := sl.Cluster.String(); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// importPointer returns the name to which an address of a set of clusters leads
// back; it is asked for where this cluster has none (specification §2.3.3, §2.4.3).
func (s *Signpost) importPointer(a netip.Addr) (string, bool) {
	home := s.clustersetHome()
	if home == nil {
		return "", false
	}
	for o := s.store.Imports().Owners(a); o.Valid(); o = o.Next() {
		e := o.Entry()
		kind := serviceKind(e)
		switch {
		case kind == clusterIP && slices.Contains(e.Service.ClusterIPs, a) && fits(home.service(e.Service.Key)):
			return home.service(e.Service.Key), true
		case kind != headless:
			continue
		}
		for _, sl := range e.Slices {
			for i, list := 0, sl.At(a); i < len(list); i++ {
				name := endpointLabel(&list[i]) + "." + sl.Cluster.String() + "." + home.service(e.Service.Key)
				if list[i].Has(cluster.Ready) && fits(name) {
					return name, true
				}
			}
		}
	}
	return "", false
}

func (s *Signpost) hasImportPointer(a netip.Addr) bool {
	_, has := s.importPointer(a)
	return has
}

// hasAddressIn reports whether any name may lead back from an address inside p.
func (s *Signpost) hasAddressIn(p netip.Prefix) bool {
	return s.store.HasAddressIn(p) || len(s.clusterset) > 0 && s.store.Imports().HasAddressIn(p)
}

// reverseNode finds a name of a reverse zone, given whole and in lower case. An
// inner node exists if any address below it does,
// though the option ptr may give that none of its own.
func (s *Signpost) reverseNode(name string, z *zone) node {
	if name == z.name {
		return node{kind: apex}
	}
	p, ok := parseReverse(name)
	switch {
	case !ok:
		return nodeMissing
	case !p.IsSingleIP():
		return emptyIf(z.inside && s.hasAddressIn(p) || z.outside && s.store.HasOutsideIn(p))
	case s.tight() && len(s.pointersIn(z, p.Addr())) == 0: // no name fits
		return nodeMissing
	case z.inside && (s.hasPointer(p.Addr()) || s.hasImportPointer(p.Addr())) || z.outside && s.store.OwnersOutside(p.Addr()).Valid():
		return node{kind: pointer, addr: p.Addr()}
	}
	return nodeMissing
}

// parseReverse reads a name below in-addr.arpa or ip6.arpa (RFC 1035 §3.5, RFC
// 3596 §2.5) as the prefix that its labels spell: a full name is one address.
func parseReverse(name string) (netip.Prefix, bool) {
	if strings.HasPrefix(name, ".") {
		return netip.Prefix{}, false
	}
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		return parseReverse4(rest)
	}
	if rest, ok := strings.CutSuffix(name, ".ip6.arpa."); ok {
		return parseReverse6(rest)
	}
	return netip.Prefix{}, false
}

func parseReverse4(name string) (netip.Prefix, bool) {
	var ip [4]byte
	n := 0
	for ; name != ""; n++ {
		var label string
		if name, label = cutLast(name); n == len(ip) {
			return netip.Prefix{}, false
		}
		octet, ok := parseOctet(label)
		if !ok {
			return netip.Prefix{}, false
		}
		ip[n] = octet
	}
	return netip.PrefixFrom(netip.AddrFrom4(ip), 8*n), true
}

// parseOctet reads a decimal octet as inet_ntoa would write it: no leading zeros.
func parseOctet(s string) (byte, bool) {
	if s == "" || len(s) > 3 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	v := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		v = 10*v + int(s[i]-'0')
	}
	return byte(v), v <= 255
}

func parseReverse6(name string) (netip.Prefix, bool) {
	var ip [16]byte
	n := 0
	for ; name != ""; n++ {
		var label string
		if name, label = cutLast(name); n == 2*len(ip) || len(label) != 1 {
			return netip.Prefix{}, false
		}
		nibble := strings.IndexByte("0123456789abcdef", label[0])
		if nibble < 0 {
			return netip.Prefix{}, false
		}
		ip[n/2] |= byte(nibble) << (4 * (1 - n%2))
	}
	return netip.PrefixFrom(netip.AddrFrom16(ip), 4*n), true
}

// names reports whether a ready endpoint of a Service has such a name below it.
func (p ptrPolicy) names(kind nodeKind, ep *cluster.Endpoint) bool {
	switch p {
	case ptrAll:
		return true
	case ptrHeadless:
		return kind == headless
	case ptrHostname:
		return kind == headless && ep.Hostname != ""
	}
	return false
}

// hasPointer reports whether any name points back from the address.
func (s *Signpost) hasPointer(a netip.Addr) bool {
	for o := s.store.Owners(a); o.Valid(); o = o.Next() {
		e := o.Entry()
		kind := serviceKind(e)
		if kind != clusterIP && kind != headless {
			continue
		}
		if s.ptr == ptrAll || slices.Contains(e.Service.ClusterIPs, a) {
			return true
		}
		for ep := range e.ReadyAt(a) {
			if s.ptr.names(kind, ep) {
				return true
			}
		}
	}
	return false
}

// back is one endpoint that an address leads back to, and its Service.
type back struct {
	entry    *cluster.Entry
	endpoint *cluster.Endpoint
}

// pointers returns the names that an address has. A ClusterIP belongs to one
// Service and has one. An endpoint has one below each Service that it serves, and
// several endpoints of a Service may have the address. They come in an order that all
// replicas agree on, for many clients read the first only: what a pod calls itself comes first.
func (s *Signpost) pointers(a netip.Addr) []string {
	var room [2]back
	list := room[:0]
	for o := s.store.Owners(a); o.Valid(); o = o.Next() {
		e := o.Entry()
		kind := serviceKind(e)
		if kind != clusterIP && kind != headless {
			continue
		}
		if slices.Contains(e.Service.ClusterIPs, a) {
			return fitting(s.serviceName(e.Service.Key))
		}
		for ep := range e.ReadyAt(a) {
			if s.ptr.names(kind, ep) {
				list = append(list, back{e, ep})
			}
		}
	}
	if len(list) > 1 {
		slices.SortFunc(list, compareBacks)
		list = slices.CompactFunc(list, func(x, y back) bool { return compareBacks(x, y) == 0 })
	}
	names := make([]string, len(list))
	for i, b := range list {
		names[i] = endpointLabel(b.endpoint) + "." + s.serviceName(b.entry.Service.Key)
	}
	if names = fitting(names...); s.ptrSingle && len(names) > 1 {
		names = names[:1]
	}
	return names
}

// fitting returns those of the names that fit.
func fitting(names ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !fits(name) })
}

// compareBacks puts hostnames below headless Services first, then headless
// Services, then the oldest one, then by name. It is 0 for two that have one name.
func compareBacks(a, b back) int {
	rank := func(x back) int {
		switch {
		case !x.entry.Service.Headless:
			return 2
		case x.endpoint.Hostname == "":
			return 1
		}
		return 0
	}
	x, y := a.entry.Service, b.entry.Service
	return cmp.Or(
		cmp.Compare(rank(a), rank(b)), cmp.Compare(x.Created, y.Created),
		cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name),
		cmp.Compare(a.endpoint.Hostname, b.endpoint.Hostname),
	)
}

// dashedSize holds the longest dashed address: eight groups of four hex digits.
const dashedSize = 40

// appendDashed appends the label that stands for an address: its canonical text
// (RFC 5952) with dashes for dots and colons. No host name ends in a dash (RFC 952),
// so fd00:: is fd00--0, as it is in the peer.
func appendDashed(dst []byte, a netip.Addr) []byte {
	start := len(dst)
	dst = a.AppendTo(dst)
	for i := start; i < len(dst); i++ {
		if dst[i] == '.' || dst[i] == ':' {
			dst[i] = '-'
		}
	}
	if dst[len(dst)-1] == '-' {
		dst = append(dst, '0')
	}
	return dst
}

// parseDashed reads such a label; the zero Addr if it is none. Three single
// dashes make it IPv4, anything else is tried as IPv6.
func parseDashed(label string) netip.Addr {
	if len(label) == 0 || len(label) >= dashedSize {
		return netip.Addr{}
	}
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		return parseDashed4(label)
	}
	for i := range len(label) {
		c := label[i]
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return netip.Addr{} // an ordinary host name: spares the parser's error value
		}
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	if err != nil || a.Is4In6() {
		return netip.Addr{}
	}
	return a
}

func parseDashed4(label string) netip.Addr {
	var ip [4]byte
	for i := range ip {
		text, rest, _ := strings.Cut(label, "-")
		octet, ok := parseOctet(text)
		if !ok {
			return netip.Addr{}
		}
		ip[i], label = octet, rest
	}
	return netip.AddrFrom4(ip)
}
