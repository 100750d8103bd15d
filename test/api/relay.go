package api

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// Relay stands between a client and a server, and knows when the server's bytes reached
// the client's socket: from then on it is the client's time that passes.
type Relay struct {
	URL  string
	last atomic.Int64 // Unix nanoseconds
}

// NewRelay passes what comes to a listener on to the server at a URL of scheme http. The
// listener, which may be in another network namespace, is closed when the test ends;
// connections end with their peers.
func NewRelay(tb testing.TB, l net.Listener, url string) *Relay {
	tb.Helper()
	tb.Cleanup(func() { l.Close() })
	r := &Relay{URL: "http://" + l.Addr().String()}
	to := strings.TrimPrefix(url, "http://")
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				client.Close()
				continue
			}
			go pass(client, server, func() {})
			go pass(server, client, func() { r.last.Store(time.Now().UnixNano()) })
		}
	}()
	return r
}

// Last is when bytes of the server were passed on last.
func (r *Relay) Last() time.Time { return time.Unix(0, r.last.Load()) }

// pass copies bytes, and tells of each batch before the receiver can have read it.
func pass(from, to net.Conn, told func()) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			told()
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
