//go:build linux

package netlab

import (
	"io"
	"net"
	"sync"
)

// A Relay leads from a host to a server of another network, such as that of the process that made the host.
type Relay struct {
	Addr string // where it listens in the host

	to     string
	inside net.Listener
	wait   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once it is closed
}

// Relay passes on what connects to an address of the host, over TCP, to the address of a server that this process
// reaches. The caller closes it. A server that is down looks as one that hangs up.
func (h *Host) Relay(at, to string) (*Relay, error) {
	l, err := h.Listen(at)
	if err != nil {
		return nil, err
	}
	r := &Relay{Addr: l.Addr().String(), to: to, inside: l, conns: map[net.Conn]struct{}{}}
	r.wait.Go(r.accept)
	return r, nil
}

// Close ends every connection and waits until they have ended.
func (r *Relay) Close() {
	r.inside.Close()
	r.mu.Lock()
	for c := range r.conns {
		c.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.wait.Wait()
}

func (r *Relay) accept() {
	for {
		in, err := r.inside.Accept()
		if err != nil {
			return // it is closed
		}
		r.wait.Go(func() { r.pass(in) })
	}
}

// pass connects both ends until one of them closes.
func (r *Relay) pass(in net.Conn) {
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

func (r *Relay) keep(conns ...net.Conn) bool {
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

func (r *Relay) drop(conns ...net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		delete(r.conns, c)
	}
}
