package signpost

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// sendBuffer is the number of bytes of unread large answers that the kernel keeps for one
// connection (it counts twice as much). Its default is up to 4 MiB.
const sendBuffer = 32 << 10

// refusedAnswers and slowClients count the failures of streams.
var (
	refusedAnswers = promauto.NewCounter(prometheus.CounterOpts{
		Namespace: plugin.Namespace, Subsystem: pluginName, Name: "large_answers_refused_total",
		Help: "Large answers over TCP that were SERVFAIL, because too many were in flight.",
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

// replyStream answers over a stream. It makes a large answer only when there is a place for
// it. It closes the connection of a client that does not read in time.
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
		defer sw.leave() // WriteMsg takes a place once it knows the size
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

// WriteMsg implements dns.ResponseWriter. A client that does not read is not an error of
// the server: WriteMsg counts it and closes its connection.
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
			_ = tcp.SetLinger(0) // the kernel need not keep what the client does not read
		}
		_ = w.Close()
		return nil
	}
	_ = w.conn.SetWriteDeadline(time.Time{}) // other plugins answer on this connection too
	return err
}

func (w *streamWriter) leave() {
	if w.place != nil {
		large.leave(w.place)
	}
}

// writeTimeout returns how long a write may take: the value of the plugin timeouts, which
// the server itself does not apply to TCP.
func writeTimeout(ctx context.Context) time.Duration {
	if server, _ := ctx.Value(dnsserver.Key{}).(*dnsserver.Server); server != nil && server.WriteTimeout > 0 {
		return server.WriteTimeout
	}
	return defaultDeadline
}

// clientOf returns the address of a client.
func clientOf(w dns.ResponseWriter) netip.Addr {
	a, _ := netip.ParseAddrPort(w.RemoteAddr().String())
	return a.Addr().Unmap()
}

// tcpOf returns the TCP connection below a stream, or nil.
func tcpOf(c net.Conn) *net.TCPConn {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	tcp, _ := c.(*net.TCPConn)
	return tcp
}

// connOf returns the connection of a client, or nil if writes do not wait for one. The
// interface of writers has no deadline and the server sets none. Therefore connOf reads the
// connection out of the library's own writer, below the writers of other plugins, which all
// embed the next one.
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

// answerSize estimates the size of the answer of a node in bytes: enough to recognize the
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

// Bounds of the large answers over streams that this process holds at a time. An answer of
// 64 KiB takes about 0.4 MiB until the client has read it.
const (
	largeAnswer     = 4 << 10 // bytes from which an answer needs a place
	largePlaces     = 64      // answers
	largePerClient  = 8       // of them by one client address
	largeWait       = 4 * time.Second
	writeContended  = 200 * time.Millisecond // for a write while a query waits for its place
	largeClients    = 1 << 12                // addresses that are remembered
	defaultDeadline = 5 * time.Second        // for a write otherwise: that of CoreDNS's timeouts
)

// deadliner is a connection, as far as a room needs it.
type deadliner interface {
	SetWriteDeadline(time.Time) error
}

// room bounds the large answers. The client that waited longest since its last answer is
// next, so a client with many queries delays only itself. A client that does not read loses
// its place when a query waits for it.
type room struct {
	places, perClient int

	mu      sync.Mutex
	clients map[netip.Addr]*guest
	turns   []*guest // those with a query in the queue
	holders []*place
	granted uint64 // places so far
}

// guest is a client address that holds a place, waits for one, or had one.
type guest struct {
	holds int
	queue []*place
	last  uint64 // number of its last place, counted over all guests; 0: none so far
}

// place is the right to make one large answer.
type place struct {
	guest   *guest
	granted chan struct{}
	conn    deadliner // set while the answer is written
	begun   time.Time // of the write
}

func newRoom(places, perClient int) *room {
	return &room{places: places, perClient: perClient, clients: map[netip.Addr]*guest{}}
}

// large is the room of this process: memory is shared by all server blocks.
var large = newRoom(largePlaces, largePerClient)

// enter waits for a place, but at most for the time wait. It returns nil if there is none.
func (r *room) enter(client netip.Addr, wait time.Duration) *place {
	p := &place{granted: make(chan struct{})}
	r.mu.Lock()
	p.guest = r.clients[client]
	if p.guest == nil {
		p.guest = &guest{}
		r.clients[client] = p.guest
	}
	if p.guest.queue = append(p.guest.queue, p); len(p.guest.queue) == 1 {
		r.turns = append(r.turns, p.guest)
	}
	r.grant()
	r.hurry()
	r.mu.Unlock()
	select {
	case <-p.granted:
		return p
	default:
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.granted:
		return p
	case <-timer.C:
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(p.guest.queue, p)
	if i < 0 {
		return p // granted meanwhile
	}
	p.guest.queue = slices.Delete(p.guest.queue, i, i+1)
	r.endTurn(p.guest)
	return nil
}

// leave returns the place, and grants it to the next client. Afterwards the room does not
// touch the connection.
func (r *room) leave(p *place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.holders, p)
	r.holders = slices.Delete(r.holders, i, i+1)
	p.guest.holds--
	r.endTurn(p.guest)
	r.grant()
	r.hurry()
}

// writing starts the write of the answer, and sets how long it may take.
func (r *room) writing(p *place, conn deadliner, limit time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.conn, p.begun = conn, time.Now()
	_ = conn.SetWriteDeadline(p.begun.Add(limit)) // a closed connection fails at the write
	r.hurry()
}

// written ends the write.
func (r *room) written(p *place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.conn = nil
}

// held returns the number of places in use.
func (r *room) held() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.holders)
}

// grant gives free places to guests in turn.
func (r *room) grant() {
	for len(r.holders) < r.places {
		i := -1
		for j, g := range r.turns {
			if g.holds < r.perClient && (i < 0 || g.last < r.turns[i].last) {
				i = j
			}
		}
		if i < 0 {
			return
		}
		g := r.turns[i]
		r.turns = slices.Delete(r.turns, i, i+1)
		p := g.queue[0]
		if g.queue = g.queue[1:]; len(g.queue) > 0 {
			r.turns = append(r.turns, g)
		}
		g.holds++
		r.granted++
		g.last = r.granted
		r.holders = append(r.holders, p)
		close(p.granted)
	}
}

// hurry shortens the deadlines of writes for which a query waits: all writes if the room is
// full, else those of guests that hold all the places that they may have.
func (r *room) hurry() {
	if len(r.turns) == 0 {
		return
	}
	full := len(r.holders) == r.places
	for _, p := range r.holders {
		if p.conn != nil && (full || len(p.guest.queue) > 0) {
			_ = p.conn.SetWriteDeadline(p.begun.Add(writeContended))
			p.conn = nil // once is enough
		}
	}
}

// endTurn removes a guest that no longer waits from the turns. If the room remembers too
// many clients, it forgets the idle ones.
func (r *room) endTurn(g *guest) {
	if len(g.queue) > 0 {
		return
	}
	if i := slices.Index(r.turns, g); i >= 0 {
		r.turns = slices.Delete(r.turns, i, i+1)
	}
	if len(r.clients) > largeClients {
		maps.DeleteFunc(r.clients, func(_ netip.Addr, g *guest) bool { return g.holds+len(g.queue) == 0 })
	}
}
