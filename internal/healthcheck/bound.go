package healthcheck

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// mostConnections limits the open connections of one server, and of the health check ports of all
// Services together. Each costs about 20 KB.
const mostConnections = 256

// bounded returns a server that limits the cost of a client. Probes send one short request.
func bounded(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second, // closes connections of silent clients
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    8 << 10,
	}
}

// bound limits the open connections of its listeners. It accepts every new connection and, over
// the limit, closes the oldest one of the client with the most. Clients therefore cannot lock out
// the kubelet: its connection is the newest and ends within milliseconds.
type bound struct {
	most int
	mu   sync.Mutex
	open []*connection // by age, oldest first
}

func newBound(most int) *bound { return &bound{most: most} }

// on applies the limit to a listener.
func (b *bound) on(l net.Listener) net.Listener { return boundListener{l, b} }

type boundListener struct {
	net.Listener
	bound *bound
}

// Accept implements net.Listener.
func (l boundListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.bound.take(c), nil
}

// connection counts towards the limit until it is closed.
type connection struct {
	net.Conn
	bound  *bound
	client netip.Prefix
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.bound.drop(c)
	return c.Conn.Close()
}

func (b *bound) take(conn net.Conn) net.Conn {
	c := &connection{conn, b, clientOf(conn.RemoteAddr())}
	b.mu.Lock()
	b.open = append(b.open, c)
	var excess *connection
	if len(b.open) > b.most {
		excess = b.excess()
	}
	b.mu.Unlock()
	if excess != nil {
		_ = excess.Close()
	}
	return c
}

// excess returns the oldest connection of the client with the most connections.
func (b *bound) excess() *connection {
	count := map[netip.Prefix]int{}
	for _, c := range b.open {
		count[c.client]++
	}
	oldest := b.open[0]
	for _, c := range b.open {
		if count[c.client] > count[oldest.client] {
			oldest = c
		}
	}
	return oldest
}

func (b *bound) drop(c *connection) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.open, c); i >= 0 {
		b.open = slices.Delete(b.open, i, i+1)
	}
}

// clientOf returns the client's address, or its /64 network for IPv6: one host may own all of it.
func clientOf(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	ip := at.Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
