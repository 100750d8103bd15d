package signpost

import (
	"cmp"
	"net/netip"
	"slices"
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

// miss is the reason why nothing stands at a name. why.go has its words.
type miss uint8

const (
	missLabel     miss = iota // no such label below the zone
	missByte                  // no name of Kubernetes has this byte
	missOutside               // clients outside the cluster see no such name
	missNamespace             // no such namespace
	missService               // no such Service, or no such namespace
	missUnnamed               // the Service has nothing to publish
	missIgnored               // the option ignore empty_service hides the Service
	missAlias                 // below an ExternalName Service
	missPort                  // the Service has no such port
	missDepth                 // left of an endpoint's label or of a protocol
	missEndpoint              // no ready endpoint has the label
	missCluster               // no ready endpoint is in the cluster of the set
	missZonal                 // not the form of a _zone name
	missPods                  // the option pods disabled
	missDashed                // no address with dashes
	missPod                   // no running pod has the address
	missSpelling              // a reverse name that spells no address
	missPrefix                // no address in the prefix has a name
	missAddress               // the address has no name
	misses
)

// node is one name of the tree, or the reason why it is none. It refers to the index
// and to the question; to find it allocates nothing.
type node struct {
	kind    nodeKind
	miss    miss             // missing
	outside bool             // clusterIP, external, portName: as clients outside the cluster see it
	proto   cluster.Protocol // portName
	entry   *cluster.Entry   // all kinds of a Service's names; missing: the Service that has no such name
	label   string           // endpoint: its label; portName: the port's name; inZone: the zone; why: the name; missing: what is not there
	within  string           // headless and endpoint of a ServiceImport: their cluster; missing: the namespace
	addr    netip.Addr       // pod, pointer; endpoint if the label is an address; missing: the address
}

// emptyIf returns an inner node where the condition holds, else the reason.
func emptyIf(exists bool, otherwise node) node {
	if exists {
		return node{kind: empty}
	}
	return otherwise
}

// find returns what stands at the name of a question.
func (s *Signpost) find(q *question) node {
	switch {
	case s.why && strings.HasPrefix(q.name, whyPrefix):
		return node{kind: why, label: q.name[len(whyPrefix):]}
	case isReverse(q.name): // also in the root zone
		return s.reverseNode(q.zone, q.name)
	case q.zone.tree == outsideTree:
		return s.outsideNode(q.rest)
	}
	return s.forwardNode(q.zone, q.rest)
}

// forwardNode finds a name of a forward zone, given relative to the zone.
func (s *Signpost) forwardNode(z *zone, name string) node {
	if strings.IndexByte(name, '\\') >= 0 {
		return node{miss: missByte}
	}
	rest, label := cutLast(name)
	switch label {
	case "":
		return node{kind: apex}
	case "svc":
		return s.serviceNode(z, rest)
	case "pod":
		if z.tree == clusterTree {
			return s.podNode(rest)
		}
		label = name
	case "dns":
		switch rest {
		case "":
			return node{kind: empty}
		case "ns":
			return node{kind: nameserver}
		}
		label = name
	case "dns-version":
		if rest == "" {
			return node{kind: version}
		}
		label = name
	}
	return node{miss: missLabel, label: label}
}

// serviceNode finds a name below svc.
func (s *Signpost) serviceNode(z *zone, name string) node {
	if name == "" {
		return node{kind: empty}
	}
	name, namespace := cutLast(name)
	if name == "" {
		return emptyIf(s.hasNamespace(z, namespace), node{miss: missNamespace, within: namespace})
	}
	name, service := cutLast(name)
	e := s.index(z).Service(namespace, service)
	kind := serviceKind(e)
	switch {
	case e == nil:
		return node{miss: missService, label: service, within: namespace}
	case kind == missing:
		return node{miss: missUnnamed, entry: e}
	case kind == clusterIP && s.ignoreEmpty && !e.HasReady():
		return node{miss: missIgnored, entry: e}
	case name == "":
		return node{kind: kind, entry: e}
	case kind == external:
		return node{miss: missAlias, entry: e} // a CNAME has nothing below it
	case z.tree == clustersetTree:
		return belowImport(e, kind, name)
	}
	if rest, label := cutLast(name); label == zoneLabel && s.zonal {
		return zoneNode(e, kind, rest)
	}
	return below(e, kind, name)
}

// hasNamespace reports whether Services of a zone may be in the namespace.
func (s *Signpost) hasNamespace(z *zone, name string) bool {
	return s.store.Namespace(name) || z.tree == clustersetTree && s.store.Imports().Namespace(name)
}

// serviceKind says what a Service publishes at its own name. A headless Service
// without ready endpoints does not exist (specification 1.1.0, §2.4.1).
func serviceKind(e *cluster.Entry) nodeKind {
	switch {
	case e == nil:
		return missing
	case e.Service.Type == cluster.ExternalName:
		if e.Service.External == nil || e.Service.External.Name == "" {
			return missing // no name to point a CNAME at
		}
		return external
	case e.Service.Headless:
		if !e.HasReady() {
			return missing
		}
		return headless
	case len(e.Service.ClusterIPs) == 0:
		return missing // no address is allocated yet
	}
	return clusterIP
}

// below finds a name under a Service's own: an endpoint's label, or a port.
func below(e *cluster.Entry, kind nodeKind, name string) node {
	rest, label := cutLast(name)
	protocol, isProtocol := protocolOf(label)
	switch {
	case isProtocol && rest == "":
		return emptyIf(hasPort(e, kind, "", protocol), node{miss: missPort, entry: e})
	case isProtocol:
		port, underscored := strings.CutPrefix(rest, "_")
		if !underscored || port == "" || !hasPort(e, kind, port, protocol) {
			return node{miss: missPort, entry: e}
		}
		return node{kind: portName, entry: e, label: port, proto: protocol}
	}
	return endpointNode(e, "", name)
}

// endpointNode finds an endpoint by its label, in one cluster of a set or in this one.
func endpointNode(e *cluster.Entry, within, name string) node {
	if rest, _ := cutLast(name); rest != "" {
		return node{miss: missDepth, entry: e, label: rest}
	}
	n := node{kind: endpoint, entry: e, label: name, within: within, addr: parseDashed(name)}
	if !n.hasEndpoint() {
		return node{miss: missEndpoint, entry: e, label: name, within: within}
	}
	return n
}

// belowImport finds a name under that of a ServiceImport: a port, or an endpoint of
// one cluster if it is headless. A name of a set with an address must not lead to the
// backends of one cluster (specification of multi-cluster DNS 1.0.0, §2.3.4).
func belowImport(e *cluster.Entry, kind nodeKind, name string) node {
	rest, label := cutLast(name)
	if _, isProtocol := protocolOf(label); isProtocol {
		return below(e, kind, name)
	}
	part := node{kind: headless, entry: e, within: label}
	if kind != headless || !part.hasEndpoint() {
		return node{miss: missCluster, entry: e, label: label}
	}
	if rest == "" {
		return node{kind: empty}
	}
	return endpointNode(e, label, rest)
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
	zone, how := cutLast(name)
	switch {
	case kind != headless, name != "" && how != "pin" && how != "prefer":
		return node{miss: missZonal, label: name}
	case zone == "":
		return node{kind: empty}
	}
	n := node{kind: inZone, entry: e, label: zone}
	if how == "prefer" && !n.hasEndpoint() {
		return node{kind: headless, entry: e}
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

// podNode finds a name below pod.
func (s *Signpost) podNode(name string) node {
	if name == "" {
		return node{kind: empty}
	}
	name, namespace := cutLast(name)
	addr := parseDashed(name)
	switch {
	case !s.store.Namespace(namespace):
		return node{miss: missNamespace, within: namespace}
	case name == "":
		return node{kind: empty}
	case s.pods == podsDisabled:
		return node{miss: missPods}
	case !addr.IsValid():
		return node{miss: missDashed, label: name}
	case s.pods == podsVerified && s.store.PodAt(namespace, addr) == nil:
		return node{miss: missPod, within: namespace, addr: addr}
	}
	return node{kind: pod, addr: addr}
}

// outsideNode finds a name of a zone for clients outside the cluster, relative to
// the zone: SERVICE.NAMESPACE, without svc.
func (s *Signpost) outsideNode(name string) node {
	rest, label := cutLast(name)
	own := s.outside.label()
	switch {
	case label == "":
		return node{kind: apex}
	case label == own && rest == "":
		return node{kind: empty}
	case label == own && rest == "ns1":
		return node{kind: nameserver}
	case label == own:
		return node{miss: missOutside}
	case rest == "":
		return emptyIf(s.store.Namespace(label), node{miss: missOutside})
	}
	rest, service := cutLast(rest)
	e := s.store.Service(label, service)
	kind := s.outsideKind(e)
	switch {
	case kind == missing:
		return node{miss: missOutside}
	case rest == "":
		return node{kind: kind, entry: e, outside: kind != headless}
	}
	ports := kind
	if kind == external {
		ports = clusterIP // a load balancer with a name has the ports of the Service
	}
	n := below(e, ports, rest)
	if n.kind == missing || n.kind == endpoint && kind != headless { // endpoints stand behind the address
		return node{miss: missOutside}
	}
	n.outside = kind != headless
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

// reverseNode finds a name of a reverse zone, given whole. An inner node exists if any
// address below it does, though the option ptr may give that none of its own.
func (s *Signpost) reverseNode(z *zone, name string) node {
	if name == z.name {
		return node{kind: apex}
	}
	p, ok := parseReverse(name)
	switch {
	case !ok:
		return node{miss: missSpelling}
	case !p.IsSingleIP():
		inside := s.store.HasAddressIn(p) || len(s.clusterset) > 0 && s.store.Imports().HasAddressIn(p)
		return emptyIf(z.inside && inside || z.outside && s.store.HasOutsideIn(p), node{miss: missPrefix, label: name})
	case s.hasPointer(z, p.Addr()):
		return node{kind: pointer, addr: p.Addr()}
	}
	return node{miss: missAddress, addr: p.Addr()}
}

// addrs are those of a Service, in the cluster or outside.
func (n *node) addrs() []netip.Addr {
	if n.outside {
		return n.entry.Service.Outside()
	}
	return n.entry.Service.ClusterIPs
}

// has reports whether the endpoints of a slice are in the part of the Service for
// which the name stands: all of it, or one cluster of a set.
func (n *node) has(slice *cluster.Slice) bool {
	return n.within == "" || slice.Cluster.String() == n.within
}

// readyEndpoints yields the endpoints that a name stands for, with their ports.
func (n *node) readyEndpoints() func(func(*cluster.Endpoint, []cluster.Port) bool) {
	return func(yield func(*cluster.Endpoint, []cluster.Port) bool) {
		for _, slice := range n.entry.Slices {
			if !n.has(slice) {
				continue
			}
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

func (n *node) hasEndpoint() bool {
	for range n.readyEndpoints() {
		return true
	}
	return false
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

// back is one name to which an address leads back, before it is spelled.
type back struct {
	home     *zone
	entry    *cluster.Entry
	endpoint *cluster.Endpoint // nil: the name of the Service
	within   string            // the cluster of the endpoint, in a set
}

// appendTo appends the name.
func (b *back) appendTo(dst []byte) []byte {
	if b.endpoint != nil {
		dst = append(appendLabel(dst, b.endpoint), '.')
		if b.within != "" {
			dst = append(append(dst, b.within...), '.')
		}
	}
	return b.home.appendService(dst, b.entry.Service.Key)
}

// fits reports whether the name can stand in a message.
func (b *back) fits() bool {
	var buf [2 * longestName]byte
	return !b.home.tight() || len(b.appendTo(buf[:0])) <= longestName
}

// names reports whether a ready endpoint of a Service has a name below it to which its
// address leads back.
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

// backsIn visits the names of an index to which an address leads back, until visit
// returns false. A ClusterIP belongs to one Service and has one name. An endpoint has
// one below each Service that it serves, and several endpoints of a Service may have
// the address.
func backsIn(index *cluster.Store, home *zone, policy ptrPolicy, a netip.Addr, visit func(back) bool) {
	for o := index.Owners(a); o.Valid(); o = o.Next() {
		if e := o.Entry(); serviceKind(e) == clusterIP && slices.Contains(e.Service.ClusterIPs, a) {
			visit(back{home: home, entry: e})
			return
		}
	}
	for o := index.Owners(a); o.Valid(); o = o.Next() {
		e := o.Entry()
		kind := serviceKind(e)
		if kind != clusterIP && kind != headless {
			continue
		}
		for _, slice := range e.Slices {
			for i, list := 0, slice.At(a); i < len(list); i++ {
				if ep := &list[i]; ep.Has(cluster.Ready) && policy.names(kind, ep) &&
					!visit(back{home, e, ep, slice.Cluster.String()}) {
					return
				}
			}
		}
	}
}

// backsOutside visits the names that clients outside the cluster have for an address,
// until visit returns false.
func (s *Signpost) backsOutside(a netip.Addr, visit func(back) bool) {
	home := s.zoneNamed(outsideHome(s.outside.zones))
	for o := s.store.OwnersOutside(a); o.Valid(); o = o.Next() {
		if e := o.Entry(); e != nil && e.Service.Type != cluster.ExternalName && !visit(back{home: home, entry: e}) {
			return
		}
	}
}

// hasPointer reports whether an address has a name by a reverse zone: see pointers.
func (s *Signpost) hasPointer(z *zone, a netip.Addr) (has bool) {
	first := func(b back) bool {
		has = b.fits()
		return !has
	}
	if z.inside {
		backsIn(s.store, s.primary, s.ptr, a, first)
		if home := s.clustersetHome(); home != nil && !has {
			backsIn(s.store.Imports(), home, ptrHeadless, a, first)
		}
	}
	if z.outside && !has {
		s.backsOutside(a, first)
	}
	return has
}

// pointers returns the names that an address has by a reverse zone: those of this
// cluster, or one of a set of clusters where this cluster has none (specification of
// multi-cluster DNS 1.0.0, §2.3.3, §2.4.3), and those outside. All replicas agree on the
// order, for many clients read the first only: what a pod calls itself comes first.
func (s *Signpost) pointers(z *zone, a netip.Addr) []string {
	var room [2]back
	list, single := room[:0], s.ptrSingle
	add := func(b back) bool {
		if b.fits() {
			list = append(list, b)
		}
		return true
	}
	if z.inside {
		backsIn(s.store, s.primary, s.ptr, a, add)
		if home := s.clustersetHome(); home != nil && len(list) == 0 {
			backsIn(s.store.Imports(), home, ptrHeadless, a, add)
			single = true
		}
		if len(list) > 1 {
			slices.SortFunc(list, compareBacks)
			list = slices.CompactFunc(list, func(x, y back) bool { return compareBacks(x, y) == 0 })
		}
		if single && len(list) > 1 {
			list = list[:1]
		}
	}
	if z.outside {
		s.backsOutside(a, add)
	}
	names := make([]string, len(list))
	for i := range list {
		var buf [longestName]byte
		names[i] = string(list[i].appendTo(buf[:0]))
	}
	return names
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
		cmp.Compare(a.endpoint.Hostname, b.endpoint.Hostname), cmp.Compare(a.within, b.within),
	)
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
		nibble, ok := hexDigit(label[0])
		if !ok {
			return netip.Prefix{}, false
		}
		ip[n/2] |= nibble << (4 * (1 - n%2))
	}
	return netip.PrefixFrom(netip.AddrFrom16(ip), 4*n), true
}

func hexDigit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
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

// appendLabel appends the label of an endpoint below its Service.
func appendLabel(dst []byte, ep *cluster.Endpoint) []byte {
	if ep.Hostname != "" {
		return append(dst, ep.Hostname...)
	}
	return appendDashed(dst, ep.Addr)
}

// endpointLabel returns the label of an endpoint below its Service.
func endpointLabel(ep *cluster.Endpoint) string {
	if ep.Hostname != "" {
		return ep.Hostname
	}
	var buf [dashedSize]byte
	return string(appendDashed(buf[:0], ep.Addr))
}

// parseDashed reads such a label; the zero Addr if it is none. Three single
// dashes make it IPv4, anything else is tried as IPv6. It is not netip.ParseAddr with
// colons put in, because that allocates.
func parseDashed(label string) netip.Addr {
	if strings.Count(label, "-") == 3 && !strings.Contains(label, "--") {
		return parseDashed4(label)
	}
	return parseDashed6(label)
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

// parseDashed6 reads eight groups of hex digits; two dashes stand for the groups of
// zeros that are left out (RFC 4291 §2.2). IPv4-mapped addresses have no such label.
func parseDashed6(label string) netip.Addr {
	var ip [16]byte
	n, gap := 0, -1 // bytes read, and how many of them before two dashes
	if strings.HasPrefix(label, "--") {
		label, gap = label[2:], 0
	}
	for label != "" {
		group, digits := uint16(0), 0
		for ; digits < len(label) && label[digits] != '-'; digits++ {
			d, ok := hexDigit(label[digits])
			if !ok || digits == 4 {
				return netip.Addr{}
			}
			group = group<<4 | uint16(d)
		}
		if digits == 0 || n == len(ip) {
			return netip.Addr{}
		}
		ip[n], ip[n+1] = byte(group>>8), byte(group)
		n, label = n+2, label[digits:]
		switch {
		case strings.HasPrefix(label, "--") && gap < 0:
			label, gap = label[2:], n
		case label == "-" || strings.HasPrefix(label, "--"):
			return netip.Addr{}
		case label != "":
			label = label[1:]
		}
	}
	if (n == len(ip)) != (gap < 0) {
		return netip.Addr{} // too few groups, or two dashes for none
	}
	if gap >= 0 {
		copy(ip[len(ip)-(n-gap):], ip[gap:n])
		clear(ip[gap : len(ip)-(n-gap)])
	}
	if a := netip.AddrFrom16(ip); !a.Is4In6() {
		return a
	}
	return netip.Addr{}
}
