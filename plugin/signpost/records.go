package signpost

import (
	"net/netip"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

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
