package signpost

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/bufsize"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Signpost answers the names of a cluster from the index. It implements
// plugin.Handler and ready.Readiness; it is safe for concurrent use once started.
type Signpost struct {
	settings
	next    plugin.Handler
	block   *dnsserver.Config // nil in tests without a server
	zones   []zone
	primary *zone // where PTR, SRV and NS records point

	search []string // domains behind those of the cluster in pods' search lists

	store    *cluster.Store   // set before the server starts to serve
	heard    func() time.Time // when the source last confirmed what is in the store; set likewise
	local    []netip.Addr     // addresses of this server, without loopback; set likewise
	started  atomic.Bool      // all are set: the plugin ready asks before the server serves
	upstream resolver
}

// Name implements plugin.Handler.
func (s *Signpost) Name() string { return pluginName }

// Ready implements ready.Readiness. It reports whether this process, or an earlier one that
// left a snapshot, read the whole cluster once, and not too long ago.
func (s *Signpost) Ready() bool {
	switch {
	case !s.started.Load():
		return false
	case !s.store.Synced() && (s.staleUnready || !s.store.Restored()):
		return false
	}
	return s.staleAfter == 0 || time.Since(s.heard()) <= s.staleAfter
}

// question is what one query asks, with the zone that answers and the limits of its
// transport.
type question struct {
	owner string // the name as it was asked: answers echo its case
	name  string // the name in lower case
	qtype uint16
	zone  *zone  // nil: no zone holds the name
	rest  string // the part of name to the left of the zone

	ttl, negative uint32 // seconds that records of the zone and denials may be kept

	limit  int  // bytes that an answer to this client may have
	capped bool // the client takes more than limit
	// refused says that there is no room for the answer: see room.
	refused bool
	stale   bool // the index is an earlier state: see markStale
}

// newQuestion returns the question of a name.
func (s *Signpost) newQuestion(owner string, qtype uint16) question {
	q := question{owner: owner, name: strings.ToLower(owner), qtype: qtype, ttl: s.ttl}
	if q.zone, q.rest = match(s.zones, q.name); q.zone == nil {
		return q
	}
	if q.zone.tree == outsideTree && s.outside.ttlSet {
		q.ttl = s.outside.ttl
	}
	if q.negative = q.ttl; s.negative != nil {
		q.negative = *s.negative
	}
	return q
}

// ServeDNS implements plugin.Handler.
func (s *Signpost) ServeDNS(ctx context.Context, w dns.ResponseWriter, r *dns.Msg) (int, error) {
	if len(r.Question) != 1 {
		return dns.RcodeFormatError, nil
	}
	q := s.newQuestion(r.Question[0].Name, r.Question[0].Qtype)
	if q.zone == nil {
		return plugin.NextOrFailure(pluginName, s.next, ctx, w, r)
	}
	q.stale = !s.store.Synced()
	switch {
	case q.stale && !s.store.Restored():
		// Not NXDOMAIN, which clients would cache, and no fallthrough: the name may
		// exist and be unknown yet.
		return dns.RcodeServerFailure, nil
	case q.qtype == dns.TypeAXFR || q.qtype == dns.TypeIXFR:
		return dns.RcodeRefused, nil // only the plugin transfer hands out zones
	}
	n := s.find(&q)
	if n.kind == missing && s.next != nil && s.fall.Through(q.name) {
		return plugin.NextOrFailure(pluginName, s.next, ctx, w, r)
	}
	if s.limit(ctx, w, r, &q); q.limit == dns.MaxMsgSize {
		return s.replyStream(ctx, w, r, &n, q)
	}
	return s.reply(ctx, w, r, &n, q)
}

// reply writes the answer of a node. Every answer leaves by WriteMsg, because cache,
// loadbalance, prometheus and the server's own scrubbing wrap it.
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
	// Clipped: a plugin that appends to a section must not write into its slab.
	m.Answer, m.Ns, m.Extra = slices.Clip(a.records), slices.Clip(a.authority), slices.Clip(a.extra)
	m.Rcode = a.rcode
	m.Authoritative = a.rcode != dns.RcodeServerFailure
	m.Truncated = a.partial
	if len(a.records) == 0 {
		m.soa = s.soa(&q)
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
		return dns.RcodeSuccess, nil // for other codes the server would write a second answer
	}
	return a.rcode, nil
}

// message is a reply with room for its question and for the SOA record of a negative
// answer. Most queries in a cluster are misses of the search list: each takes one
// allocation.
type message struct {
	dns.Msg
	question [1]dns.Question
	soa      dns.SOA
	rrs      [1]dns.RR
}

// newMessage returns a reply as dns.Msg.SetReply makes it.
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

// defaultMaxUDP is the largest UDP answer that no path fragments (DNS flag day 2020), and
// the default of BIND, Unbound and Knot. Larger answers make reflection attacks stronger.
const defaultMaxUDP = 1232

// maxUncompressed is the size up to which the server sends an IPv4 answer without
// compression, even if the plugin asked for it: see request.Request.Scrub.
const maxUncompressed = 1480

// udpLimit returns the size of the largest UDP answer: that of the option
// max_udp_size (0: not given), else that of the plugin bufsize, else the default.
func udpLimit(option int, plugged plugin.Handler) int {
	if option != 0 {
		return option
	}
	if b, ok := plugged.(bufsize.Bufsize); ok {
		return b.Size
	}
	return defaultMaxUDP
}

// limit sets how many bytes the answer may have: 64 KiB over a stream, and over UDP what
// the client accepts (RFC 6891 §6.2.3), but at most maxUDP.
func (s *Signpost) limit(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, q *question) {
	if !isDatagram(ctx, w) {
		q.limit = dns.MaxMsgSize
		return
	}
	q.limit = dns.MinMsgSize
	for _, rr := range r.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			q.limit = max(dns.MinMsgSize, int(opt.UDPSize()))
		}
	}
	if q.limit > s.maxUDP {
		q.limit, q.capped = s.maxUDP, true
	}
}

// isDatagram reports whether the answer is one UDP datagram. The client of a QUIC server
// has a UDP address too, so there the server's own address decides.
func isDatagram(ctx context.Context, w dns.ResponseWriter) bool {
	addr := w.RemoteAddr()
	if wrapped, ok := addr.(interface{ Unwrap() net.Addr }); ok { // of the plugin proxyproto
		addr = wrapped.Unwrap()
	}
	if _, udp := addr.(*net.UDPAddr); !udp {
		return false
	}
	server, _ := ctx.Value(dnsserver.Key{}).(*dnsserver.Server)
	return server == nil || !strings.HasPrefix(server.Addr, "quic://") && !strings.HasPrefix(server.Addr, "https3://")
}

// fit truncates a message to the limit, with room for the OPT record that the server adds.
// Only a capped answer needs it: the server itself truncates to the client's limit.
func (m *message) fit(r *dns.Msg, limit int) {
	if opt := r.IsEdns0(); opt != nil && m.IsEdns0() == nil {
		limit -= dns.Len(opt)
	}
	m.Truncate(limit)
	if !m.Compress {
		return
	}
	m.Compress = false
	size := m.Len()
	if size > maxUncompressed {
		m.Compress = true
		return
	}
	for size > limit && len(m.Extra)+len(m.Answer) > 0 {
		section := &m.Extra
		if len(m.Extra) == 0 {
			section = &m.Answer
		}
		last := len(*section) - 1
		size -= dns.Len((*section)[last])
		*section = (*section)[:last]
		m.Truncated = true
	}
}

// How long clients may keep answers of a restored index. RFC 8767 §4 wants 30 s. Denials
// are shorter, because the name may have been created since.
const (
	staleTTL         = 30
	staleNegativeTTL = 5
)

// markStale marks an answer from an earlier state of the cluster. It shortens the times to
// live, and adds an Extended DNS Error (RFC 8914: 3, Stale Answer, or 19, Stale NXDOMAIN
// Answer) if the client supports EDNS.
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

// shortLived returns the record, or a copy of it with a shorter time to live. It copies
// because records of an upstream may be shared with a cache.
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
