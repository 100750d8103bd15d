package signpost

import (
	"net/netip"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

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
