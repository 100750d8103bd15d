package signpost

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"reflect"
	"time"
	"unsafe"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/coredns/coredns/plugin"
)

// sendBuffer is what the kernel keeps of unread large answers for one connection, in
// bytes (it counts twice as much): its own choice is up to 4 MiB.
const sendBuffer = 32 << 10

// refusedAnswers and slowClients count what streams were denied.
var (
	refusedAnswers = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: pluginName, Name: "large_answers_refused_total",
		Help: "Large answers over TCP that were SERVFAIL, because too many others were in flight.",
	})
	slowClients = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: pluginName, Name: "slow_clients_total",
		Help: "Connections that were closed because the client did not read an answer in time.",
	})
	_ = promauto.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: plugin.Namespace, Subsystem: pluginName, Name: "large_answers",
		Help: "Large answers over TCP that are in flight.",
	}, func() float64 { return float64(large.held()) })
)

// replyStream answers over a stream. A large answer is made only when there is a place
// for it. A client that does not read in time loses its connection.
func (s *Signpost) replyStream(ctx context.Context, w dns.ResponseWriter, r *dns.Msg, n *node, q question) (int, error) {
	var p *place
	if n.answerSize(q.qtype) > largeAnswer {
		if p = large.enter(clientOf(w), largeWait); p == nil {
			refusedAnswers.Inc()
			q.refused = true
		} else {
			defer large.leave(p)
		}
	}
	conn := connOf(w)
	if conn == nil { // DNS over HTTPS, gRPC or QUIC: the write does not wait for the client
		return s.reply(ctx, w, r, n, q)
	}
	sw := &streamWriter{w, conn, writeTimeout(ctx), p}
	if n.kind == external {
		defer sw.leave() // it takes a place once it knows what it writes
	}
	return s.reply(ctx, sw, r, n, q)
}

// streamWriter bounds the time of a write to a stream.
type streamWriter struct {
	dns.ResponseWriter
	conn  net.Conn
	limit time.Duration
	place *place // nil for a small answer
}

// WriteMsg implements dns.ResponseWriter. A client that does not read is no error of
// the server: it is counted, and its connection is closed.
func (w *streamWriter) WriteMsg(m *dns.Msg) error {
	if w.place == nil && (len(m.Answer)+len(m.Extra))*addressSize > largeAnswer { // of an ExternalName
		if w.place = large.enter(clientOf(w), 0); w.place == nil {
			refusedAnswers.Inc()
			m.Answer, m.Ns, m.Extra, m.Rcode = nil, nil, nil, dns.RcodeServerFailure
		}
	}
	if w.place == nil {
		_ = w.conn.SetWriteDeadline(time.Now().Add(w.limit)) // a closed connection fails at the write
	} else {
		if tcp := tcpOf(w.conn); tcp != nil {
			_ = tcp.SetWriteBuffer(sendBuffer)
		}
		large.writing(w.place, w.conn, w.limit)
	}
	err := w.ResponseWriter.WriteMsg(m)
	if w.place != nil {
		large.written(w.place)
	}
	if e := net.Error(nil); errors.As(err, &e) && e.Timeout() {
		slowClients.Inc()
		if tcp := tcpOf(w.conn); tcp != nil {
			_ = tcp.SetLinger(0) // the kernel need not keep what nobody reads
		}
		_ = w.Close()
		return nil
	}
	_ = w.conn.SetWriteDeadline(time.Time{}) // other plugins answer on this connection, too
	return err
}

func (w *streamWriter) leave() {
	if w.place != nil {
		large.leave(w.place)
	}
}

// writeTimeout is how long a write may take: what the plugin timeouts says, which the
// server itself does not apply to TCP.
func writeTimeout(ctx context.Context) time.Duration {
	if server, _ := ctx.Value(dnsserver.Key{}).(*dnsserver.Server); server != nil && server.WriteTimeout > 0 {
		return server.WriteTimeout
	}
	return defaultDeadline
}

// clientOf is the address of a client.
func clientOf(w dns.ResponseWriter) netip.Addr {
	a, _ := netip.ParseAddrPort(w.RemoteAddr().String())
	return a.Addr().Unmap()
}

// tcpOf is the TCP connection below a stream, or nil.
func tcpOf(c net.Conn) *net.TCPConn {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	tcp, _ := c.(*net.TCPConn)
	return tcp
}

// connOf returns the connection of a client, or nil where there is none to wait for.
// The interface of writers has no deadline and the server sets none, so it is read out
// of the library's own writer, below those of other plugins, which all embed the next.
func connOf(w dns.ResponseWriter) net.Conn {
	v := reflect.ValueOf(w)
	for range 32 {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			return nil
		}
		if t := v.Type(); t.PkgPath() == "github.com/miekg/dns" && t.Name() == "response" {
			f := v.FieldByName("tcp")
			if !f.IsValid() || !f.CanAddr() || f.Type() != reflect.TypeFor[net.Conn]() {
				return nil
			}
			return *(*net.Conn)(unsafe.Pointer(f.UnsafeAddr()))
		}
		v = v.FieldByName("ResponseWriter")
	}
	return nil
}

// answerSize is about how many bytes the answer of a node has: enough to tell the
// large ones.
func (n *node) answerSize(qtype uint16) int {
	if n.entry == nil || n.kind == clusterIP || n.kind == external {
		return 0
	}
	v4, v6 := n.entry.Ready()
	if qtype != dns.TypeSRV {
		return (v4 + v6) * addressSize
	}
	ports := 0
	for _, slice := range n.entry.Slices {
		ports = max(ports, len(slice.Ports))
	}
	return (v4 + v6 + n.entry.Repeated()) * ports * srvSize
}
