package signpost

import (
	"math/rand/v2"
	"net/netip"
	"slices"

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
