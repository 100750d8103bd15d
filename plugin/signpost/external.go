package signpost

import (
	"context"
	"strings"

	"github.com/miekg/dns"

	"github.com/coredns/coredns/request"
)

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
