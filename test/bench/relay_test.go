package bench

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// relay stands between a server and the API, and knows when the API's bytes
// reached the server's socket: from then on it is the server's time that passes.
type relay struct {
	url  string
	last atomic.Int64 // Unix nanoseconds of the last bytes that were passed on
}

// newRelay listens until the benchmark ends; connections end with their peers.
func newRelay(b *testing.B, api string) *relay {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	r := &relay{url: "http://" + l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", strings.TrimPrefix(api, "http://"))
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
