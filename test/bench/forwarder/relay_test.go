package forwarder

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// relay is the cable from a node to the API, and knows when the API's bytes reached the
// proxy's socket: from then on it is the proxy's time that passes.
type relay struct {
	url  string
	last atomic.Int64 // Unix nanoseconds of the last bytes for the proxy
}

// newRelay listens in the host until the test ends.
func newRelay(tb testing.TB, h *netlab.Host, api string) *relay {
	tb.Helper()
	to := strings.TrimPrefix(api, "http://")
	var l net.Listener
	if err := h.Do(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	r := &relay{url: "http://" + l.Addr().String()}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			go pass(in, out, func() {})
			go pass(out, in, func() { r.last.Store(time.Now().UnixNano()) })
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
