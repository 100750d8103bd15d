package relay

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Limits of connections. Each costs about 20 KB and two file descriptors.
const (
	mostOpen    = 1024 // at the same time
	mostOfOne   = 256  // of one NodePort, so that it cannot use up mostOpen
	dialTimeout = 5 * time.Second
	mostDials   = 3 // endpoints tried per connection
	acceptPause = 100 * time.Millisecond
)

// sticky is the endpoint for all clients of a NodePort with affinity: they all are this node.
type sticky struct {
	to    netip.AddrPort
	until time.Time
}

// accept handles connections until the listener is closed.
func (s *sockets) accept(ctx context.Context, l net.Listener, f vip.Frontend) {
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // for example, no file descriptor is left
			select {
			case <-ctx.Done():
			case <-time.After(acceptPause):
			}
		case !s.relay.enter(f):
			s.relay.count(TooMany)
			refuse(c)
		default:
			s.all.Go(func() {
				defer s.relay.leave(f)
				s.relay.connect(ctx, c, f)
			})
		}
	}
}

func (r *Relay) enter(f vip.Frontend) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.total >= mostOpen || r.open[f] >= mostOfOne {
		return false
	}
	r.total++
	r.open[f]++
	return true
}

func (r *Relay) leave(f vip.Frontend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total--
	if r.open[f]--; r.open[f] == 0 {
		delete(r.open, f)
	}
}

// connect connects a client to an endpoint and returns when both have closed.
func (r *Relay) connect(ctx context.Context, client net.Conn, f vip.Frontend) {
	defer client.Close()
	failed := NoEndpoint
	for _, to := range r.choose(f, time.Now()) {
		d := net.Dialer{Timeout: dialTimeout}
		server, err := d.DialContext(ctx, "tcp", to.String())
		if err != nil {
			failed = NoAnswer
			continue
		}
		r.count(Connected)
		r.chosen(f, to, time.Now())
		defer server.Close()
		stop := context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })
		defer stop()
		join(client, server)
		return
	}
	r.count(failed)
	refuse(client)
}

// choose returns the endpoints to try for a connection: the one of the affinity first, then random ones.
func (r *Relay) choose(f vip.Frontend, now time.Time) (list []netip.AddrPort) {
	r.mu.Lock()
	route, last := r.routes[f], r.sticky[f]
	r.mu.Unlock()
	if route == nil || route.Policy.Of(vip.FromNode).Action != vip.Forward {
		return nil
	}
	backends := route.Backends(route.Policy.Of(vip.FromNode).Set)
	has := func(b vip.Backend) bool { return b.AddrPort == last.to }
	if route.Affinity > 0 && now.Before(last.until) && slices.ContainsFunc(backends, has) {
		list = append(list, last.to)
	}
	first := rand.IntN(max(1, len(backends)))
	for i := 0; i < len(backends) && len(list) < mostDials; i++ {
		if b := backends[(first+i)%len(backends)]; !slices.Contains(list, b.AddrPort) {
			list = append(list, b.AddrPort)
		}
	}
	return list
}

// chosen records the endpoint of a connection for affinity.
func (r *Relay) chosen(f vip.Frontend, to netip.AddrPort, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if route := r.routes[f]; route != nil && route.Affinity > 0 {
		r.sticky[f] = sticky{to, now.Add(time.Duration(route.Affinity) * time.Second)}
	}
}

// join copies data and closes in both directions until both ends have closed or one fails.
func join(a, b net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		pass(a, b)
	}()
	pass(b, a)
	<-done
}

func pass(to, from net.Conn) {
	if _, err := io.Copy(to, from); err != nil {
		_ = to.Close()
		_ = from.Close()
		return
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// refuse closes a connection with a reset, as a port without a process does.
func refuse(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
