package healthcheck

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// mostConnections is how many connections a server has at a time, and the ports of all Services
// together. Each costs about 20 KB.
const mostConnections = 256

// bounded is a server whose clients cost little. A probe asks once and hears a few lines.
func bounded(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second, // a client that says nothing does not keep a connection
		IdleTimeout:       10 * time.Second,
		MaxHeaderBytes:    8 << 10,
	}
}

// bound keeps the number of connections of its listeners. A new connection is always taken; the
// oldest one of the client with the most is closed for it. So no client, and no number of them, can keep
// the kubelet from asking: its connection is the newest, and ends within milliseconds.
type bound struct {
	most int
	mu   sync.Mutex
	open []*connection // in the order of their begin
}

func newBound(most int) *bound { return &bound{most: most} }

// on bounds a listener.
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

// connection is one that counts until it is closed.
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

// excess is the oldest connection of the client with the most.
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

// clientOf is the client's address; of IPv6 the network of 64 bits, of which a host may have all.
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
