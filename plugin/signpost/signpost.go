package signpost

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// podMode is the value of the option pods.
type podMode uint8

const (
	podsDisabled podMode = iota // no names below pod
	podsInsecure                // every address has a name, whether a pod has it or not
	podsVerified                // only addresses of running pods of that namespace
)

// Signpost answers the names of a cluster from the index. It implements
// plugin.Handler and ready.Readiness; it is safe for concurrent use once started.
type Signpost struct {
	settings
	next    plugin.Handler
	block   *dnsserver.Config // nil in tests without a server
	zones   []zone
	primary *zone // where PTR, SRV and NS records point

	search []string // domains behind those of the cluster in the search lists of pods

	store    *cluster.Store   // set before the server starts to serve
	heard    func() time.Time // when the source last confirmed what is in the store; set likewise
	local    []netip.Addr     // addresses of this server, without loopback; set likewise
	started  atomic.Bool      // all are set: the plugin ready asks before the server serves
	upstream resolver
}

// Name implements plugin.Handler.
func (s *Signpost) Name() string { return pluginName }

// Ready implements ready.Readiness: the whole cluster was seen once, by this
// process or by one before it that left a snapshot, and not too long ago.
func (s *Signpost) Ready() bool {
	switch {
	case !s.started.Load():
		return false
	case !s.store.Synced() && (s.staleUnready || !s.store.Restored()):
		return false
	}
	return s.staleAfter == 0 || time.Since(s.heard()) <= s.staleAfter
}

// ServeDNS implements plugin.Handler.
func (s *Signpost) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if len(r.Question) != 1 {
		return dns.RcodeFormatError, nil
	}
	q := question{owner: r.Question[0].Name, qtype: r.Question[0].Qtype}
	name := strings.ToLower(q.owner)
	var rest string
	if q.zone, rest = match(s.zones, name); q.zone == nil {
		return plugin.NextOrFailure(pluginName, s.next, ctx, w, r)
	}
	q.stale = !s.synced(q.zone)
	switch {
	case q.stale && !s.store.Restored():
		// Not NXDOMAIN, which clients would cache, and no fallthrough: a name may
		// exist that we have not heard of yet.
		return dns.RcodeServerFailure, nil
	case q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR:
		return dns.RcodeRefused, nil // only the transfer plugin hands out zones
	}
	n := s.find(q.zone, name, rest)
	if n.kind == missing && s.next != nil && s.fall.Through(name) {
		return plugin.NextOrFailure(pluginName, s.next, ctx, w, r)
	}
	if s.limit(ctx, w, r, &q); q.limit == dns.MaxMsgSize {
		return s.replyStream(ctx, w, r, &n, q)
	}
	return s.reply(ctx, w, r, &n, q)
}

// synced reports whether every name of the zone is known.
func (s *Signpost) synced(*zone) bool { return s.store.Synced() }

// find returns what stands at a lower-case name of a zone; rest is its part to the
// left of the zone.
func (s *Signpost) find(z *zone, name, rest string) node {
	if s.why && strings.HasPrefix(name, whyPrefix) {
		return node{kind: why, label: name[len(whyPrefix):]}
	}
	if isReverse(name) { // also in the root zone
		return s.reverseNode(name, z)
	}
	if z.tree == outsideTree {
		return s.outsideNode(rest)
	}
	return s.forward(z, rest)
}

// reply writes the answer of a node. Every answer leaves by WriteMsg: cache,
// loadbalance, prometheus and the server's own scrubbing stand behind it.
func (s *Signpost) reply(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, n *node, q question) (int, error) {
	var a answer
	switch {
	case q.refused:
		a.rcode = dns.RcodeServerFailure
	case n.kind == missing:
		a.rcode = dns.RcodeNameError
	case n.kind == empty:
	case n.kind == external:
		a = s.externalAnswer(ctx, w, r, n, q)
	default:
		a = s.answer(n, q)
	}
	m := newMessage(r)
	// Clipped: who appends to a section must not write into its slab.
	m.Answer, m.Ns, m.Extra = slices.Clip(a.records), slices.Clip(a.authority), slices.Clip(a.extra)
	m.Rcode = a.rcode
	m.Authoritative = a.rcode != dns.RcodeServerFailure
	m.Truncated = a.partial
	if len(a.records) == 0 {
		m.soa = s.soa(q.zone.spelledIn(q.owner), q.zone)
		m.rrs[0] = &m.soa
		m.Ns = m.rrs[:]
	}
	if q.stale {
		markStale(&m.Msg, r, s.heard())
	}
	if q.capped {
		m.fit(r, q.limit)
	}
	if err := w.WriteMsg(&m.Msg); err != nil {
		return dns.RcodeServerFailure, err
	}
	if !plugin.ClientWrite(a.rcode) {
		return dns.RcodeSuccess, nil // by these codes the server would write one more answer
	}
	return a.rcode, nil
}

// message is a reply with room for its question and for the SOA record of a
// negative answer: most queries in a cluster are search-list misses, and this
// makes one allocation of each.
type message struct {
	dns.Msg
	question [1]dns.Question
	soa      dns.SOA
	rrs      [1]dns.RR
}

// newMessage does what dns.Msg.SetReply does.
func newMessage(r *dns.Msg) *message {
	m := new(message)
	m.Id = r.Id
	m.Response = true
	m.Opcode = r.Opcode
	m.RecursionDesired = r.RecursionDesired
	m.CheckingDisabled = r.CheckingDisabled
	m.question[0] = r.Question[0]
	m.Question = m.question[:]
	return m
}
