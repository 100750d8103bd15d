package signpost

import (
	"context"

	"github.com/miekg/dns"

	"github.com/coredns/coredns/request"
)

// maxChain is how many CNAMEs of ExternalName Services follow each other at most:
// the chase re-enters the whole server, so a loop must end.
const maxChain = 10

type chainKey struct{}

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
	alias := s.alias(n, q.owner)
	target := alias.Target
	a := answer{records: []dns.RR{alias}}
	if q.qtype == dns.TypeCNAME || q.qtype == dns.TypeANY {
		return a
	}
	depth, _ := ctx.Value(chainKey{}).(int)
	if depth == maxChain {
		a.rcode = dns.RcodeServerFailure
		return a
	}
	ctx = context.WithValue(ctx, chainKey{}, depth+1)
	m, err := s.upstream.Lookup(ctx, request.Request{W: w, Req: r}, target, q.qtype)
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

// alias is the CNAME record of an ExternalName Service.
func (s *Signpost) alias(n *node, owner string) *dns.CNAME {
	return &dns.CNAME{Hdr: header(owner, dns.TypeCNAME, s.ttl), Target: dns.Fqdn(n.entry.Service.External.Name)}
}
