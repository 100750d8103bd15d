package signpost

import (
	"context"
	"net"
	"strings"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/bufsize"
	"github.com/miekg/dns"
)

// defaultMaxUDP is the largest UDP answer that no path fragments (DNS flag day
// 2020), and the default of BIND, Unbound and Knot. A larger answer is worth more
// to whoever forges the sender of a query.
const defaultMaxUDP = 1232

// The server sends an IPv4 answer of up to that many bytes without compression,
// also one that the plugin compressed: see request.Request.Scrub.
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

// limit sets how many bytes the answer may have: 64 KiB over a stream; over UDP
// what the client takes (RFC 6891 §6.2.3), and at most maxUDP.
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

// isDatagram reports whether the answer leaves as one UDP datagram. The client of a
// QUIC server has a UDP address too, so the server's own address decides there.
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

// fit cuts a message to the limit, with room for the OPT record that the server
// adds. Only a capped answer needs it: otherwise the limit is the client's, and the
// server cuts to that itself.
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
