package signpost

import (
	"time"

	"github.com/miekg/dns"
)

// How long clients may keep what a restored index says: RFC 8767 §4 wants 30 s,
// and a name that is missing in it may have come since.
const (
	staleTTL         = 30
	staleNegativeTTL = 5
)

// markStale tells the client that an answer is of an earlier state of the
// cluster: by an Extended DNS Error (RFC 8914: 3, Stale Answer, or 19, Stale
// NXDOMAIN Answer) if it speaks EDNS, and by a short time to live in any case.
func markStale(m, r *dns.Msg, asOf time.Time) {
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for i, rr := range section {
			section[i] = shortLived(rr)
		}
	}
	asked := r.IsEdns0()
	if asked == nil {
		return
	}
	code := dns.ExtendedErrorCodeStaleAnswer
	if m.Rcode == dns.RcodeNameError {
		code = dns.ExtendedErrorCodeStaleNXDOMAINAnswer
	}
	opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
	opt.SetUDPSize(asked.UDPSize())
	opt.SetDo(asked.Do())
	opt.Option = []dns.EDNS0{&dns.EDNS0_EDE{
		InfoCode: code, ExtraText: "restored after a restart, as of " + asOf.UTC().Format(time.RFC3339),
	}}
	m.Extra = append(m.Extra, opt)
}

// shortLived returns the record, or a copy of it with a shorter time to live:
// what an upstream said may be somebody else's memory.
func shortLived(rr dns.RR) dns.RR {
	limit := uint32(staleTTL)
	soa, isSOA := rr.(*dns.SOA)
	if isSOA {
		limit = staleNegativeTTL
	}
	if rr.Header().Ttl <= limit && (!isSOA || soa.Minttl <= limit) || rr.Header().Rrtype == dns.TypeOPT {
		return rr
	}
	rr = dns.Copy(rr)
	rr.Header().Ttl = min(rr.Header().Ttl, limit)
	if isSOA {
		soa = rr.(*dns.SOA)
		soa.Minttl = min(soa.Minttl, limit)
	}
	return rr
}
