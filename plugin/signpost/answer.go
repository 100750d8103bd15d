package signpost

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// answer holds what a node answers to a question. No records and no rcode is NODATA.
type answer struct {
	records, extra []dns.RR
	authority      []dns.RR // only what an upstream said; our own SOA is added later
	rcode          int
	partial        bool // there are more records than could be sent: TC over UDP
}

// Smallest sizes of records in a compressed message. They bound how many records are made.
const (
	addressSize = 16 // pointer, fixed part, IPv4 address
	srvSize     = 20 // pointer, fixed part, priority, weight, port, one letter; the rest of the target is not compressed
)

// nodeTypes are the types of the records that each kind of node may have.
var nodeTypes = [nodeKinds][]uint16{
	apex:       {dns.TypeSOA, dns.TypeNS},
	nameserver: {dns.TypeA, dns.TypeAAAA},
	version:    {dns.TypeTXT},
	clusterIP:  {dns.TypeA, dns.TypeAAAA, dns.TypeSRV},
	headless:   {dns.TypeA, dns.TypeAAAA, dns.TypeSRV},
	external:   {dns.TypeCNAME},
	portName:   {dns.TypeSRV},
	endpoint:   {dns.TypeA, dns.TypeAAAA, dns.TypeSRV},
	inZone:     {dns.TypeA, dns.TypeAAAA, dns.TypeSRV},
	pod:        {dns.TypeA, dns.TypeAAAA},
	pointer:    {dns.TypePTR},
	why:        {dns.TypeTXT},
}

// answer makes the records of a node for a question. RFC 8482 lets ANY be
// answered by one record set: it is the first that the node has.
func (s *Signpost) answer(n *node, q question) answer {
	if q.qtype != dns.TypeANY {
		return s.records(n, q)
	}
	for _, q.qtype = range nodeTypes[n.kind] {
		if a := s.records(n, q); len(a.records) > 0 {
			return a
		}
	}
	return answer{}
}

// records makes the records of one type.
func (s *Signpost) records(n *node, q question) answer {
	switch n.kind {
	case apex:
		return s.apexRecords(q)
	case nameserver:
		return answer{records: addressRecords(q.owner, q.qtype, q.ttl, s.serverAddresses(q.zone, q.qtype))}
	case version:
		if q.qtype == dns.TypeTXT {
			return answer{records: []dns.RR{versionRecord(q.owner, q.zone)}}
		}
	case pointer:
		if q.qtype == dns.TypePTR {
			return answer{records: ptrRecords(q.owner, q.ttl, s.pointers(q.zone, n.addr))}
		}
	case external:
		if q.qtype == dns.TypeCNAME {
			return answer{records: []dns.RR{n.alias(q)}}
		}
	case why:
		return s.explained(q, n.label)
	case pod:
		if q.qtype == familyType(n.addr) {
			return answer{records: addressRecords(q.owner, q.qtype, q.ttl, []netip.Addr{n.addr})}
		}
	case clusterIP, headless, inZone, endpoint, portName:
		switch q.qtype {
		case dns.TypeA, dns.TypeAAAA:
			return n.addressAnswer(q)
		case dns.TypeSRV:
			return n.srvAnswer(q)
		}
	}
	return answer{}
}

// familyType returns the record type that holds the address.
func familyType(a netip.Addr) uint16 {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

// addressAnswer answers A and AAAA for a Service or an endpoint.
func (n *node) addressAnswer(q question) answer {
	var room [8]netip.Addr
	addrs := room[:0]
	switch n.kind {
	case clusterIP:
		addrs = appendFamily(addrs, n.addrs(), q.qtype)
	case headless, inZone:
		return n.headlessAnswer(q)
	case endpoint:
		addrs = n.addresses(addrs, q.qtype)
	}
	return answer{records: addressRecords(q.owner, q.qtype, q.ttl, addrs)}
}

func appendFamily(dst, from []netip.Addr, rrtype uint16) []netip.Addr {
	for _, a := range from {
		if familyType(a) == rrtype {
			dst = append(dst, a)
		}
	}
	return dst
}

// headlessAnswer answers with the ready endpoints of a family. It makes only as many
// records as can be sent, from a random start. A Service of thousands of endpoints
// therefore costs what a small one does, and every endpoint is used.
func (n *node) headlessAnswer(q question) answer {
	if n.kind == inZone && n.entry.Repeated() > 0 {
		return n.sharedZoneAnswer(q)
	}
	ready := n.countReady(q.qtype)
	want := min(ready, q.limit/addressSize)
	addrs := make([]netip.Addr, 0, want)
	v4 := q.qtype == dns.TypeA
	fits := func(ep *cluster.Endpoint) bool {
		return ep.Addr.Is4() == v4 && !ep.Has(cluster.Repeated) && n.standsFor(ep)
	}
	n.rotate(startAt(want < ready, ready), fits, func(ep *cluster.Endpoint, _ []cluster.Port) bool {
		addrs = append(addrs, ep.Addr)
		return len(addrs) < want
	})
	return answer{records: addressRecords(q.owner, q.qtype, q.ttl, addrs), partial: want < ready}
}

// sharedZoneAnswer answers for one zone of a headless Service whose endpoints share
// addresses. The counts of the Entry do not help there: the endpoint that is counted for
// an address may be in a different zone.
func (n *node) sharedZoneAnswer(q question) answer {
	addrs := n.addresses(nil, q.qtype)
	want := min(len(addrs), q.limit/addressSize)
	start := startAt(want < len(addrs), len(addrs))
	some := slices.Concat(addrs[start:], addrs[:start])[:want]
	return answer{records: addressRecords(q.owner, q.qtype, q.ttl, some), partial: want < len(addrs)}
}

// startAt returns the place of the first endpoint to visit: a random one, or the first.
func startAt(random bool, total int) int {
	if random && total > 0 {
		return rand.IntN(total)
	}
	return 0
}

// rotate visits every endpoint that fits once, until visit returns false. It starts at
// the place start and continues with the endpoints before it. Only endpoints that fit
// have a place, so each of them is first with the same probability.
func (n *node) rotate(start int, fits func(*cluster.Endpoint) bool, visit func(*cluster.Endpoint, []cluster.Port) bool) {
	for round := range 2 {
		place := 0
		for _, slice := range n.entry.Slices {
			if !n.has(slice) {
				continue
			}
			for i := range slice.Endpoints {
				ep := &slice.Endpoints[i]
				if !fits(ep) {
					continue
				}
				if (place >= start) == (round == 0) && !visit(ep, slice.Ports) {
					return
				}
				place++
			}
		}
	}
}

// srvAnswer answers SRV. The name of a port has a record for this port. The name of a
// Service or an endpoint has one for every port, because peer finders query that.
func (n *node) srvAnswer(q question) answer {
	if n.kind == clusterIP || n.kind == portName && (n.outside || !n.entry.Service.Headless) {
		return n.serviceSRV(q)
	}
	return n.endpointSRV(q)
}

func (n *node) hasPort(name string, protocol cluster.Protocol) bool {
	return n.kind != portName || name == n.label && protocol == n.proto
}

// serviceSRV answers SRV with the Service's own name as target.
func (n *node) serviceSRV(q question) answer {
	var room [4]srv
	list := room[:0]
	addrs := n.addrs()
	if n.outside && len(addrs) == 0 {
		return n.balancerSRV(q)
	}
	target := q.zone.service(n.entry.Service.Key)
	for i := range n.entry.Service.Ports {
		// 53/UDP and 53/TCP are one record, and a set has no record twice (RFC 2181 §5).
		if p := &n.entry.Service.Ports[i]; n.hasPort(p.Name, p.Protocol) && !slices.Contains(list, srv{target, p.Number}) {
			list = append(list, srv{target, p.Number})
		}
	}
	if len(list) == 0 {
		return answer{}
	}
	return answer{
		records: srvRecords(q.owner, q.ttl, list),
		extra:   glue(target, q.ttl, addrs),
	}
}

// glue returns the address records of a target.
func glue(target string, ttl uint32, addrs []netip.Addr) []dns.RR {
	var room [2]netip.Addr
	rrs := addressRecords(target, dns.TypeA, ttl, appendFamily(room[:0], addrs, dns.TypeA))
	return append(rrs, addressRecords(target, dns.TypeAAAA, ttl, appendFamily(room[:0], addrs, dns.TypeAAAA))...)
}

// Other plugins change records in place (rewrite, cache, the scrubbing of the server).
// Every answer therefore gets its own records: one slab for all records of a set, and one
// slice of pointers into it. Names and addresses inside are shared.

func header(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// addressRecords returns A or AAAA records; all addresses are of that family.
func addressRecords(owner string, rrtype uint16, ttl uint32, addrs []netip.Addr) []dns.RR {
	switch {
	case len(addrs) == 0:
		return nil
	case rrtype == dns.TypeA:
		return aRecords(owner, ttl, addrs)
	default:
		return aaaaRecords(owner, ttl, addrs)
	}
}

type slabA struct {
	dns.A
	ip [4]byte
}

type slabAAAA struct {
	dns.AAAA
	ip [16]byte
}

func aRecords(owner string, ttl uint32, addrs []netip.Addr) []dns.RR {
	if len(addrs) == 1 { // the most frequent answer: one allocation
		one := new(struct {
			slab slabA
			rrs  [1]dns.RR
		})
		one.slab.set(owner, ttl, addrs[0])
		one.rrs[0] = &one.slab.A
		return one.rrs[:]
	}
	slab, rrs := make([]slabA, len(addrs)), make([]dns.RR, len(addrs))
	for i, a := range addrs {
		slab[i].set(owner, ttl, a)
		rrs[i] = &slab[i].A
	}
	return rrs
}

func (s *slabA) set(owner string, ttl uint32, a netip.Addr) {
	s.ip = a.As4()
	s.A = dns.A{Hdr: header(owner, dns.TypeA, ttl), A: s.ip[:]}
}

func aaaaRecords(owner string, ttl uint32, addrs []netip.Addr) []dns.RR {
	slab, rrs := make([]slabAAAA, len(addrs)), make([]dns.RR, len(addrs))
	for i, a := range addrs {
		s := &slab[i]
		s.ip = a.As16()
		s.AAAA = dns.AAAA{Hdr: header(owner, dns.TypeAAAA, ttl), AAAA: s.ip[:]}
		rrs[i] = &s.AAAA
	}
	return rrs
}

// srv holds what differs between the SRV records of a set.
type srv struct {
	target string
	port   uint16
}

// srvRecords returns a set of SRV records. All have priority 0 and the same weight: their
// share of 100, as in the plugin kubernetes, but never 0, which would mean last resort.
func srvRecords(owner string, ttl uint32, list []srv) []dns.RR {
	if len(list) == 0 {
		return nil
	}
	weight := uint16(max(1, 100/len(list)))
	slab, rrs := make([]dns.SRV, len(list)), make([]dns.RR, len(list))
	for i, t := range list {
		slab[i] = dns.SRV{Hdr: header(owner, dns.TypeSRV, ttl), Weight: weight, Port: t.port, Target: t.target}
		rrs[i] = &slab[i]
	}
	return rrs
}

func ptrRecords(owner string, ttl uint32, names []string) []dns.RR {
	rrs := make([]dns.RR, len(names))
	for i, name := range names {
		rrs[i] = &dns.PTR{Hdr: header(owner, dns.TypePTR, ttl), Ptr: name}
	}
	return rrs
}

// SOA timers: the numbers that cluster DNS has always had. Only the minimum matters: it
// limits how long a negative answer may be cached (RFC 2308).
const (
	soaRefresh = 7200
	soaRetry   = 1800
	soaExpire  = 86400
	soaMaxTTL  = 300
)

// soa returns the SOA record of a negative answer. RFC 2308 §5 caches it for the lesser
// of its minimum and its own time to live.
func (s *Signpost) soa(q *question) dns.SOA {
	return dns.SOA{
		Hdr: header(q.zone.spelledIn(q.owner), dns.TypeSOA, min(q.negative, soaMaxTTL)),
		Ns:  q.zone.nameserver, Mbox: q.zone.mailbox, Serial: uint32(s.serial(q.zone)),
		Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: q.negative,
	}
}

// serial returns the number of the last change of a zone, or of a zone that is made of
// the same objects: see cluster.Store.Serial. A SOA record has its low 32 bits.
func (s *Signpost) serial(z *zone) uint64 {
	serial := s.store.Serial(cluster.PartNames) // of every zone: NS records point to a Service
	if z.tree == clustersetTree || len(s.clusterset) > 0 && (z.reverse || z.name == ".") {
		serial = max(serial, s.store.Serial(cluster.PartImports))
	}
	if s.pods == podsVerified && z.tree == clusterTree && !z.reverse {
		serial = max(serial, s.store.Serial(cluster.PartPods))
	}
	return serial
}

// schemaVersion is the version of the DNS specification that the plugin implements. The
// TXT record changes only with a release, so it may be cached for hours.
const (
	schemaVersion     = "1.1.0"
	clustersetVersion = "1.0.0"
	schemaVersionTTL  = 28800
)

func versionRecord(owner string, z *zone) dns.RR {
	version := schemaVersion
	if z.tree == clustersetTree {
		version = clustersetVersion
	}
	return &dns.TXT{Hdr: header(owner, dns.TypeTXT, schemaVersionTTL), Txt: []string{version}}
}

// endpointSRV answers SRV with the endpoints' names as targets, and adds the addresses of
// the targets. It makes only as many records as can be sent: see headlessAnswer.
func (n *node) endpointSRV(q question) answer {
	g := srvBuilder{node: *n, base: "." + q.zone.service(n.entry.Service.Key), shared: n.entry.Repeated() > 0}
	g.most = max(1, q.limit/(srvSize+len(g.base)))
	if q.zone.tree == clustersetTree {
		g.visitClusters()
	} else {
		g.visitAll()
	}
	a := answer{records: srvRecords(q.owner, q.ttl, g.list), partial: g.partial}
	for _, t := range g.targets {
		a.extra = append(a.extra, glue(t.name, q.ttl, []netip.Addr{t.addr})...)
	}
	return a
}

// srvBuilder collects the SRV records of endpoints.
type srvBuilder struct {
	node node   // a copy: what a closure holds is allocated, and most queries need no builder
	base string // what follows the label of an endpoint
	most int

	list    []srv
	targets []target
	shared  bool            // endpoints share addresses
	records map[srv]bool    // those in list that a later endpoint may repeat: see add
	glue    map[target]bool // those in targets, where endpoints share addresses
	partial bool            // there is more
}

type target struct {
	name string
	addr netip.Addr
}

// visit adds an endpoint with the requested ones of its ports. It returns false when the
// answer is full.
func (g *srvBuilder) visit(ep *cluster.Endpoint, ports []cluster.Port) bool {
	name := ""
	for i := range ports {
		p := &ports[i]
		if !g.node.hasPort(p.Name, p.Protocol) || g.node.sameRecord(ports[:i], p.Number) {
			continue
		}
		if name == "" {
			name = endpointLabel(ep) + g.base
		}
		if !fits(name) {
			return true
		}
		if len(g.list) == g.most {
			g.partial = true
			return false
		}
		g.add(ep, srv{name, p.Number})
	}
	if name != "" && !(g.shared && seen(&g.glue, target{name, ep.Addr})) {
		g.targets = append(g.targets, target{name, ep.Addr})
	}
	return true
}

// visitAll adds the endpoints of the node. It starts at a random one if not all fit.
func (g *srvBuilder) visitAll() {
	total := g.node.countEndpoints()
	g.node.rotate(startAt(total > g.most, total), g.node.standsFor, g.visit)
}

// visitClusters adds the endpoints of a ServiceImport. Their names contain the id of
// their cluster.
func (g *srvBuilder) visitClusters() {
	base := g.base
	for _, id := range clustersOf(&g.node) {
		g.node.within, g.base = id, "."+id+base
		g.visitAll()
	}
}

// clustersOf returns the ids of the clusters where a ServiceImport has slices, each once.
func clustersOf(n *node) []string {
	var ids []string
	for _, slice := range n.entry.Slices {
		if id := slice.Cluster.String(); n.has(slice) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// sameRecord reports whether one of the ports has a record with that number already.
// 53/UDP and 53/TCP have one record, because a set has no record twice (RFC 2181 §5).
func (n *node) sameRecord(ports []cluster.Port, number uint16) bool {
	return slices.ContainsFunc(ports, func(p cluster.Port) bool {
		return p.Number == number && n.hasPort(p.Name, p.Protocol)
	})
}

// add adds a record once. Several endpoints may have the same hostname or address.
func (g *srvBuilder) add(ep *cluster.Endpoint, record srv) {
	if (ep.Hostname != "" || g.shared) && seen(&g.records, record) {
		return
	}
	g.list = append(g.list, record)
}

// seen records a key and reports whether it was there before.
func seen[K comparable](keys *map[K]bool, k K) bool {
	was := (*keys)[k]
	if *keys == nil {
		*keys = map[K]bool{}
	}
	(*keys)[k] = true
	return was
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

// countReady counts the addresses of a family for which the name of a headless Service
// stands. For a part of the Service, a zone or a cluster, it counts the ready endpoints.
func (n *node) countReady(rrtype uint16) int {
	if n.kind == inZone || n.within != "" {
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

// countEndpoints counts the ready endpoints, from which a partial answer picks its first.
func (n *node) countEndpoints() int {
	if n.kind == inZone || n.within != "" {
		return n.countReady(dns.TypeA) + n.countReady(dns.TypeAAAA)
	}
	v4, v6 := n.entry.Ready()
	return v4 + v6 + n.entry.Repeated()
}

// apexRecords returns the records at the top of a zone: SOA and NS.
func (s *Signpost) apexRecords(q question) answer {
	switch q.qtype {
	case dns.TypeSOA:
		soa := s.soa(&q)
		soa.Hdr.Ttl = min(q.ttl, soaMaxTTL)
		return answer{records: []dns.RR{&soa}}
	case dns.TypeNS:
		return s.nameservers(q)
	}
	return answer{}
}

// nameservers answers NS with the Services that have this server as an endpoint, or with
// its own name ns.dns if there is none.
func (s *Signpost) nameservers(q question) answer {
	var a answer
	add := func(name string, addrs []netip.Addr) {
		if !fits(name) {
			return
		}
		a.records = append(a.records, &dns.NS{Hdr: header(q.owner, dns.TypeNS, q.ttl), Ns: name})
		a.extra = append(a.extra, glue(name, q.ttl, addrs)...)
	}
	if q.zone.tree == outsideTree {
		add(q.zone.nameserver, append(s.serverAddresses(q.zone, dns.TypeA), s.serverAddresses(q.zone, dns.TypeAAAA)...))
		return a
	}
	s.ownServices(func(e *cluster.Entry, ep *cluster.Endpoint) {
		name := s.primary.service(e.Service.Key)
		if e.Service.Headless {
			add(endpointLabel(ep)+"."+name, []netip.Addr{ep.Addr})
		} else {
			add(name, e.Service.ClusterIPs)
		}
	})
	if len(a.records) == 0 {
		add(q.zone.nameserver, s.local)
	}
	return a
}

// serverAddresses returns the addresses of one family at which the clients of a zone reach
// this server: those of its Services if it has any, else its own.
func (s *Signpost) serverAddresses(z *zone, rrtype uint16) []netip.Addr {
	var addrs []netip.Addr
	found := false
	s.ownServices(func(e *cluster.Entry, ep *cluster.Endpoint) {
		found = true
		kind, list := serviceKind(e), e.Service.ClusterIPs
		if z.tree == outsideTree {
			kind, list = s.outsideKind(e), e.Service.Outside()
		}
		switch kind {
		case clusterIP:
			addrs = appendFamily(addrs, list, rrtype)
		case headless:
			addrs = appendFamily(addrs, []netip.Addr{ep.Addr}, rrtype)
		}
	})
	if !found {
		addrs = appendFamily(addrs, s.local, rrtype)
	}
	return addrs
}

// ownServices visits each Service that has an address of this server among its
// ready endpoints, once.
func (s *Signpost) ownServices(visit func(*cluster.Entry, *cluster.Endpoint)) {
	seen := map[cluster.Key]bool{}
	for _, a := range s.local {
		for o := s.store.Owners(a); o.Valid(); o = o.Next() {
			e := o.Entry()
			if k := serviceKind(e); k != clusterIP && k != headless || seen[e.Service.Key] {
				continue
			}
			if ep := e.ReadyEndpoint(a); ep != nil {
				seen[e.Service.Key] = true
				visit(e, ep)
			}
		}
	}
}

// maxChain is the largest number of CNAMEs of ExternalName Services in a row. Each one
// queries the whole server again, so a loop must end.
const maxChain = 10

type chainKey struct{}

// chain lists the owner names of the CNAMEs so far, in lower case, the last one first.
type chain struct {
	name   string
	length int
	before *chain
}

func (c *chain) has(name string) bool {
	for ; c != nil; c = c.before {
		if c.name == name {
			return true
		}
	}
	return false
}

// resolver queries a name at the whole server again, so that rewrite, hosts and forward
// apply to the target.
type resolver interface {
	Lookup(ctx context.Context, state request.Request, name string, qtype uint16) (*dns.Msg, error)
}

// externalAnswer answers for an ExternalName Service: a CNAME for every type (RFC 1034
// §3.6.2), and the target's records of the requested type. The rcode is that of the last
// name in the chain (RFC 6604). If this server cannot resolve the target, the answer has
// only the CNAME, and the client's resolver follows it.
func (s *Signpost) externalAnswer(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, n *node, q question) answer {
	alias := n.alias(q)
	target := alias.Target
	a := answer{records: []dns.RR{alias}}
	if q.qtype == dns.TypeCNAME || q.qtype == dns.TypeANY {
		return a
	}
	before, _ := ctx.Value(chainKey{}).(*chain)
	here := &chain{name: strings.ToLower(q.owner), length: 1, before: before}
	if before != nil {
		here.length += before.length
	}
	if here.length > maxChain || here.has(strings.ToLower(target)) {
		a.rcode = dns.RcodeServerFailure // a loop: each CNAME once, and no answer
		return a
	}
	m, err := s.upstream.Lookup(context.WithValue(ctx, chainKey{}, here), request.Request{W: w, Req: r}, target, q.qtype)
	if err != nil || m == nil {
		return a
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError, dns.RcodeServerFailure:
		a.rcode = m.Rcode
		a.records = append(a.records, m.Answer...)
		a.authority = m.Ns
		a.partial = m.Truncated
	}
	return a
}

// alias returns the CNAME record of an ExternalName Service, or of one whose load
// balancer has only a name.
func (n *node) alias(q question) *dns.CNAME {
	return &dns.CNAME{Hdr: header(q.owner, dns.TypeCNAME, q.ttl), Target: dns.Fqdn(n.target())}
}

// balancerSRV answers SRV for a Service whose load balancers have only names: these are
// the targets.
func (n *node) balancerSRV(q question) answer {
	var list []srv
	for _, host := range n.entry.Service.External.Hosts {
		for i := range n.entry.Service.Ports {
			p := &n.entry.Service.Ports[i]
			if record := (srv{dns.Fqdn(host), p.Number}); n.hasPort(p.Name, p.Protocol) && !slices.Contains(list, record) {
				list = append(list, record)
			}
		}
	}
	return answer{records: srvRecords(q.owner, q.ttl, list)}
}

// target returns where the CNAME of the node points, without a final dot. It is one name,
// because a name has at most one CNAME record (RFC 2181 §10.1).
func (n *node) target() string {
	if n.outside {
		return n.entry.Service.External.Hosts[0]
	}
	return n.entry.Service.External.Name
}
