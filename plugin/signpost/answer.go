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

// question is what one query asks, with the limits of its transport.
type question struct {
	owner  string // the name as it was asked: answers echo its case
	qtype  uint16
	zone   *zone
	limit  int  // bytes that an answer to this client may have
	capped bool // the client takes more than limit
	// refused says that there is no room for the answer: see room.
	refused bool
	stale   bool // the index is an earlier state: see markStale
}

// answer is what a node says to a question. No records and no rcode is NODATA.
type answer struct {
	records, extra []dns.RR
	authority      []dns.RR // only what an upstream said; our own SOA is added later
	rcode          int
	partial        bool // there are more records than could be sent: TC over UDP
}

// Smallest sizes of records in a compressed message: what bounds how many are made.
const (
	addressSize = 16 // pointer, fixed part, IPv4 address
	srvSize     = 20 // pointer, fixed part, priority, weight, port, one letter; the rest of the target is not compressed
)

// answer makes the records of a node for a question. RFC 8482 lets ANY be
// answered by one record set: it is the first that the node has.
func (s *Signpost) answer(n *node, q question) answer {
	if q.qtype != dns.TypeANY {
		return s.records(n, q)
	}
	for _, t := range []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeSOA, dns.TypeTXT} {
		q.qtype = t
		if a := s.records(n, q); len(a.records) > 0 {
			return a
		}
	}
	return answer{}
}

func (s *Signpost) records(n *node, q question) answer {
	switch n.kind {
	case apex:
		return s.apexRecords(q)
	case nameserver:
		return answer{records: addressRecords(q.owner, q.qtype, s.ttlIn(q.zone), s.serverAddresses(q))}
	case version:
		if q.qtype == dns.TypeTXT {
			return answer{records: []dns.RR{versionRecord(q.owner, q.zone)}}
		}
	case pointer:
		if q.qtype == dns.TypePTR {
			return answer{records: ptrRecords(q.owner, s.ttlIn(q.zone), s.pointersIn(q.zone, n.addr))}
		}
	case why:
		return s.explained(q, n.label)
	case pod:
		if q.qtype == familyType(n.addr) {
			return answer{records: addressRecords(q.owner, q.qtype, s.ttlIn(q.zone), []netip.Addr{n.addr})}
		}
	case clusterIP, headless, inZone, endpoint, portName:
		switch q.qtype {
		case dns.TypeA, dns.TypeAAAA:
			return s.addressAnswer(n, q)
		case dns.TypeSRV:
			return s.srvAnswer(n, q)
		}
	}
	return answer{}
}

// familyType is the record type that holds the address.
func familyType(a netip.Addr) uint16 {
	if a.Is4() {
		return dns.TypeA
	}
	return dns.TypeAAAA
}

// addressAnswer answers A and AAAA for a Service or an endpoint.
func (s *Signpost) addressAnswer(n *node, q question) answer {
	var room [8]netip.Addr
	addrs := room[:0]
	switch n.kind {
	case clusterIP:
		addrs = appendFamily(addrs, n.addrs(), q.qtype)
	case headless, inZone:
		return s.headlessAnswer(n, q)
	case endpoint:
		addrs = n.addresses(addrs, q.qtype)
	}
	return answer{records: addressRecords(q.owner, q.qtype, s.ttlIn(q.zone), addrs)}
}

func appendFamily(dst, from []netip.Addr, rrtype uint16) []netip.Addr {
	for _, a := range from {
		if familyType(a) == rrtype {
			dst = append(dst, a)
		}
	}
	return dst
}

// headlessAnswer answers with the ready endpoints of a family. Only as many as
// can be sent are made, from a random start, so that a Service of thousands costs
// what a small one does and every endpoint has its turn.
func (s *Signpost) headlessAnswer(n *node, q question) answer {
	if n.kind == inZone && n.entry.Repeated() > 0 {
		return s.sharedZoneAnswer(n, q)
	}
	ready := n.countReady(q.qtype)
	want := min(ready, q.limit/addressSize)
	addrs := make([]netip.Addr, 0, want)
	v4 := q.qtype == dns.TypeA
	fits := func(ep *cluster.Endpoint) bool {
		return ep.Addr.Is4() == v4 && !ep.Has(cluster.Repeated) && n.standsFor(ep)
	}
	rotate(n.entry, somewhere(want < ready, ready), fits, func(ep *cluster.Endpoint, _ []cluster.Port) bool {
		addrs = append(addrs, ep.Addr)
		return len(addrs) < want
	})
	return answer{records: addressRecords(q.owner, q.qtype, s.ttlIn(q.zone), addrs), partial: want < ready}
}

// sharedZoneAnswer is headlessAnswer for a zone of a Service in which endpoints share
// addresses: the one that counts an address may be in another zone.
func (s *Signpost) sharedZoneAnswer(n *node, q question) answer {
	addrs := n.addresses(nil, q.qtype)
	want := min(len(addrs), q.limit/addressSize)
	start := somewhere(want < len(addrs), len(addrs))
	some := slices.Concat(addrs[start:], addrs[:start])[:want]
	return answer{records: addressRecords(q.owner, q.qtype, s.ttlIn(q.zone), some), partial: want < len(addrs)}
}

// somewhere is where to begin with a number of endpoints: at a random one, or at the first.
func somewhere(random bool, total int) int {
	if random && total > 0 {
		return rand.IntN(total)
	}
	return 0
}

// rotate visits every endpoint that fits once, until visit returns false: from the
// one at place start on, then those before it. Places count endpoints that fit only,
// so that what lies between them does not make some more likely to come first.
func rotate(e *cluster.Entry, start int, fits func(*cluster.Endpoint) bool, visit func(*cluster.Endpoint, []cluster.Port) bool) {
	for round := range 2 {
		place := 0
		for _, slice := range e.Slices {
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

// srvAnswer answers SRV: at a port's name for this port, at a Service's or an
// endpoint's own name for every port (peer finders ask so).
func (s *Signpost) srvAnswer(n *node, q question) answer {
	if n.kind == clusterIP || n.kind == portName && (n.outside || !n.entry.Service.Headless) {
		return s.serviceSRV(n, q)
	}
	return s.endpointSRV(n, q)
}

func (n *node) hasPort(name string, protocol cluster.Protocol) bool {
	return n.kind != portName || name == n.label && protocol == n.proto
}

// serviceSRV points at the Service's own name.
func (s *Signpost) serviceSRV(n *node, q question) answer {
	var room [4]srv
	list := room[:0]
	addrs := n.addrs()
	if n.outside && len(addrs) == 0 {
		return s.balancerSRV(n, q)
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
		records: srvRecords(q.owner, s.ttlIn(q.zone), list),
		extra:   s.glue(q.zone, target, addrs),
	}
}

// glue makes the address records of a target.
func (s *Signpost) glue(z *zone, target string, addrs []netip.Addr) []dns.RR {
	var room [2]netip.Addr
	rrs := addressRecords(target, dns.TypeA, s.ttlIn(z), appendFamily(room[:0], addrs, dns.TypeA))
	return append(rrs, addressRecords(target, dns.TypeAAAA, s.ttlIn(z), appendFamily(room[:0], addrs, dns.TypeAAAA))...)
}

// Plugins behind us change records in place (rewrite, cache, the scrubbing of
// the server), so every answer gets records of its own: one slab for all records
// of a set, one slice of pointers into it. Names and addresses inside are shared.

func header(owner string, rrtype uint16, ttl uint32) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// addressRecords makes A or AAAA records of addresses of that family.
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
	if len(addrs) == 1 { // by far the most frequent answer: one allocation
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

// srv is one SRV record to be made.
type srv struct {
	target string
	port   uint16
}

// srvRecords makes a set of SRV records. All have priority 0 and the same weight:
// their share of 100, as the peer has it, but never 0, which would mean last resort.
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

// SOA timers: the numbers that cluster DNS has always had; no secondary relies on
// them, only the minimum (RFC 2308: how long a negative answer may be cached) matters.
const (
	soaRefresh = 7200
	soaRetry   = 1800
	soaExpire  = 86400
	soaMaxTTL  = 300
)

// negativeIn is how long a negative answer of a zone may be kept, in seconds.
func (s *Signpost) negativeIn(z *zone) uint32 {
	if s.negative != nil {
		return *s.negative
	}
	return s.ttlIn(z)
}

// soa makes the record of a negative answer: RFC 2308 §5 takes the lesser of its
// minimum and of its own time to live.
func (s *Signpost) soa(owner string, z *zone) dns.SOA {
	ttl := s.negativeIn(z)
	return dns.SOA{
		Hdr: header(owner, dns.TypeSOA, min(ttl, soaMaxTTL)),
		Ns:  z.nameserver, Mbox: z.mailbox, Serial: uint32(s.serial(z)),
		Refresh: soaRefresh, Retry: soaRetry, Expire: soaExpire, Minttl: ttl,
	}
}

// serial is the number of the last change of a zone, or of another zone that is made of
// the same objects: see cluster.Store.Serial. A SOA record has its low 32 bits.
func (s *Signpost) serial(z *zone) uint64 {
	serial := s.store.Serial(cluster.PartNames) // of every zone: NS records lead to a Service
	if z.tree == clustersetTree || len(s.clusterset) > 0 && (z.reverse || z.name == ".") {
		serial = max(serial, s.store.Serial(cluster.PartImports))
	}
	if s.pods == podsVerified && z.tree == clusterTree && !z.reverse {
		serial = max(serial, s.store.Serial(cluster.PartPods))
	}
	return serial
}

// schemaVersion is that of the DNS specification which we follow; its TXT record
// changes with our releases only, so it may be cached for long.
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

// endpointLabel is the label of an endpoint below its Service.
func endpointLabel(ep *cluster.Endpoint) string {
	if ep.Hostname != "" {
		return ep.Hostname
	}
	var buf [dashedSize]byte
	return string(appendDashed(buf[:0], ep.Addr))
}

// serviceName is the full name of a Service in the primary zone.
func (s *Signpost) serviceName(k cluster.Key) string {
	return s.primary.service(k)
}

// endpointSRV points at the endpoints' names; addresses of the targets go along.
// Only as many records are made as can be sent: see headlessAnswer.
func (s *Signpost) endpointSRV(n *node, q question) answer {
	g := gathering{node: *n, base: "." + q.zone.service(n.entry.Service.Key), shared: n.entry.Repeated() > 0}
	g.most = max(1, q.limit/(srvSize+len(g.base)))
	if q.zone.tree == clustersetTree {
		g.visitClusters()
	} else {
		total := n.countEndpoints()
		rotate(n.entry, somewhere(total > g.most, total), g.node.standsFor, g.visit)
	}
	a := answer{records: srvRecords(q.owner, s.ttlIn(q.zone), g.list), partial: g.partial}
	for _, t := range g.targets {
		a.extra = append(a.extra, s.glue(q.zone, t.name, []netip.Addr{t.addr})...)
	}
	return a
}

// gathering is a set of SRV records of endpoints that grows.
type gathering struct {
	node node   // a copy: what a closure holds is on the heap, and most queries need none
	base string // what follows the label of an endpoint
	most int

	list    []srv
	targets []target
	shared  bool            // endpoints share addresses
	records map[srv]bool    // those in list that other endpoints may make too: see add
	glue    map[target]bool // those in targets, where endpoints share addresses
	partial bool            // there is more
}

type target struct {
	name string
	addr netip.Addr
}

// visit adds an endpoint with those of its ports that are asked for; false ends it.
func (g *gathering) visit(ep *cluster.Endpoint, ports []cluster.Port) bool {
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

// visitClusters adds the endpoints of a ServiceImport: the name of one has the id of
// its cluster.
func (g *gathering) visitClusters() {
	whole, base := g.node.entry, g.base
	for _, id := range clustersOf(whole) {
		g.node.entry, g.base = inCluster(whole, id), "."+id+base
		total := g.node.countEndpoints()
		rotate(g.node.entry, somewhere(total > g.most, total), g.node.standsFor, g.visit)
	}
}

// sameRecord reports whether one of the ports makes a record with that number:
// 53/UDP and 53/TCP are one, and a set has no record twice (RFC 2181 §5).
func (n *node) sameRecord(ports []cluster.Port, number uint16) bool {
	return slices.ContainsFunc(ports, func(p cluster.Port) bool {
		return p.Number == number && n.hasPort(p.Name, p.Protocol)
	})
}

// add adds a record once: several endpoints may have one hostname, or one address.
func (g *gathering) add(ep *cluster.Endpoint, record srv) {
	if (ep.Hostname != "" || g.shared) && seen(&g.records, record) {
		return
	}
	g.list = append(g.list, record)
}

// seen notes a key and reports whether it was there before.
func seen[K comparable](keys *map[K]bool, k K) bool {
	was := (*keys)[k]
	if *keys == nil {
		*keys = map[K]bool{}
	}
	(*keys)[k] = true
	return was
}

// countEndpoints counts the ready endpoints among which an answer of part of them begins.
func (n *node) countEndpoints() int {
	if n.kind == inZone {
		return n.countReady(dns.TypeA) + n.countReady(dns.TypeAAAA)
	}
	v4, v6 := n.entry.Ready()
	return v4 + v6 + n.entry.Repeated()
}

// apexRecords answers at the top of a zone: SOA and NS.
func (s *Signpost) apexRecords(q question) answer {
	switch q.qtype {
	case dns.TypeSOA:
		soa := s.soa(q.owner, q.zone)
		soa.Hdr.Ttl = min(s.ttlIn(q.zone), soaMaxTTL)
		return answer{records: []dns.RR{&soa}}
	case dns.TypeNS:
		return s.nameservers(q)
	}
	return answer{}
}

// nameservers answers NS: the Services behind which this server is an endpoint,
// or its own name ns.dns where there is none.
func (s *Signpost) nameservers(q question) answer {
	var a answer
	add := func(name string, addrs []netip.Addr) {
		if !fits(name) {
			return
		}
		a.records = append(a.records, &dns.NS{Hdr: header(q.owner, dns.TypeNS, s.ttlIn(q.zone)), Ns: name})
		a.extra = append(a.extra, s.glue(q.zone, name, addrs)...)
	}
	if q.zone.tree == outsideTree {
		add(q.zone.nameserver, append(s.ownOutside(dns.TypeA), s.ownOutside(dns.TypeAAAA)...))
		return a
	}
	s.ownServices(func(e *cluster.Entry, ep *cluster.Endpoint) {
		name := s.serviceName(e.Service.Key)
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

// serverAddresses are those of ns.dns, of one family: where clients reach this
// server, by its Services if it has any.
func (s *Signpost) serverAddresses(q question) []netip.Addr {
	if q.zone.tree == outsideTree {
		return s.ownOutside(q.qtype)
	}
	rrtype := q.qtype
	var addrs []netip.Addr
	found := false
	s.ownServices(func(e *cluster.Entry, ep *cluster.Endpoint) {
		found = true
		if e.Service.Headless {
			addrs = appendFamily(addrs, []netip.Addr{ep.Addr}, rrtype)
		} else {
			addrs = appendFamily(addrs, e.Service.ClusterIPs, rrtype)
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

// maxChain is how many CNAMEs of ExternalName Services follow each other at most:
// the chase re-enters the whole server, so a loop must end.
const maxChain = 10

type chainKey struct{}

// chain is the owner names of the CNAMEs so far, in lower case, the last first.
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

// resolver asks a name of the whole server again: rewrites, hosts and forward
// all have their say about the target.
type resolver interface {
	Lookup(ctx context.Context, state request.Request, name string, qtype uint16) (*dns.Msg, error)
}

// externalAnswer answers an ExternalName Service: a CNAME for every type (RFC
// 1034 §3.6.2), and what the target says about the type asked. The rcode is that
// of the chain's end (RFC 6604). Where nobody here can tell, the CNAME stands
// alone and the client's resolver goes on from there.
func (s *Signpost) externalAnswer(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, n *node, q question) answer {
	alias := s.alias(n, q)
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
		a.rcode = dns.RcodeServerFailure // it ends nowhere: each CNAME once, and no answer
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

// alias is the CNAME record of an ExternalName Service, or of one whose load
// balancer has only a name.
func (s *Signpost) alias(n *node, q question) *dns.CNAME {
	return &dns.CNAME{Hdr: header(q.owner, dns.TypeCNAME, s.ttlIn(q.zone)), Target: dns.Fqdn(n.target())}
}

// balancerSRV answers SRV for the port of a Service whose load balancers have names
// only: it points at these.
func (s *Signpost) balancerSRV(n *node, q question) answer {
	var list []srv
	for _, host := range n.entry.Service.External.Hosts {
		for i := range n.entry.Service.Ports {
			p := &n.entry.Service.Ports[i]
			if record := (srv{dns.Fqdn(host), p.Number}); n.hasPort(p.Name, p.Protocol) && !slices.Contains(list, record) {
				list = append(list, record)
			}
		}
	}
	return answer{records: srvRecords(q.owner, s.ttlIn(q.zone), list)}
}

// ownOutside are the addresses at which clients outside the cluster find this
// server, of one family.
func (s *Signpost) ownOutside(rrtype uint16) []netip.Addr {
	var addrs []netip.Addr
	found := false
	s.ownServices(func(e *cluster.Entry, ep *cluster.Endpoint) {
		found = true
		switch s.outsideKind(e) {
		case clusterIP:
			addrs = appendFamily(addrs, e.Service.Outside(), rrtype)
		case headless:
			addrs = appendFamily(addrs, []netip.Addr{ep.Addr}, rrtype)
		}
	})
	if !found {
		addrs = appendFamily(addrs, s.local, rrtype)
	}
	return addrs
}

// target is where the CNAME of the node points, without a final dot: one place,
// because a name has at most one CNAME record (RFC 2181 §10.1).
func (n *node) target() string {
	if n.outside {
		return n.entry.Service.External.Hosts[0]
	}
	return n.entry.Service.External.Name
}
