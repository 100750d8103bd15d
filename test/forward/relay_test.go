package forward

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/apiserver"
)

// A relay is the cable from a host to the API server: it listens inside the host at the API server's own
// address, so that URL and certificate fit unchanged, and passes every connection on to the server outside.
type relay struct {
	to     string
	inside net.Listener
	wait   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once it is cut
}

// connect lays the cable for one test.
func connect(t *testing.T, host *netlab.Host, server *apiserver.Server) {
	t.Helper()
	r := &relay{to: strings.TrimPrefix(server.URL, "https://"), conns: map[net.Conn]struct{}{}}
	var err error
	if r.inside, err = host.Listen(r.to); err != nil {
		t.Fatalf("listen at the API server's address: %v", err)
	}
	r.wait.Go(r.accept)
	t.Cleanup(r.cut)
}

func (r *relay) accept() {
	for {
		in, err := r.inside.Accept()
		if err != nil {
			return // it is cut
		}
		r.wait.Go(func() { r.pass(in) })
	}
}

// pass connects both ends until one of them closes. A server that is down looks as one that hangs up.
func (r *relay) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer out.Close()
	if !r.keep(in, out) {
		return
	}
	defer r.drop(in, out)
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		r.wait.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			done <- struct{}{}
		})
	}
	<-done
}

func (r *relay) keep(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if r.conns == nil {
			return false
		}
		r.conns[c] = struct{}{}
	}
	return true
}

func (r *relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.conns, c)
	}
}

// cut ends every connection and waits for all goroutines.
func (r *relay) cut() {
	r.inside.Close()
	r.mu.Lock()
	for c := range r.conns {
		c.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.wait.Wait()
}
