package hostile

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A cable leads from a node to the API, which is in another network.
type cable struct {
	URL    string
	to     string
	inside net.Listener
	wait   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once it is cut
}

// layCable lays a cable that a test needs until its end.
func layCable(t *testing.T, h *netlab.Host, url string) *cable {
	t.Helper()
	l, err := h.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{URL: "http://" + l.Addr().String(), to: strings.TrimPrefix(url, "http://"), inside: l, conns: map[net.Conn]struct{}{}}
	c.wait.Go(c.accept)
	t.Cleanup(c.cut)
	return c
}

func (c *cable) accept() {
	for {
		in, err := c.inside.Accept()
		if err != nil {
			return // it is cut
		}
		c.wait.Go(func() { c.pass(in) })
	}
}

// pass connects both ends until one of them closes.
func (c *cable) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer out.Close()
	if !c.keep(in, out) {
		return
	}
	defer c.drop(in, out)
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		c.wait.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			done <- struct{}{}
		})
	}
	<-done
}

func (c *cable) keep(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		if c.conns == nil {
			return false
		}
		c.conns[conn] = struct{}{}
	}
	return true
}

func (c *cable) drop(conns ...net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		delete(c.conns, conn)
	}
}

// cut ends every connection and waits for all goroutines.
func (c *cable) cut() {
	c.inside.Close()
	c.mu.Lock()
	for conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
	c.mu.Unlock()
	c.wait.Wait()
}
