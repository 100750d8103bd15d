package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// bindPause is the pause before a retry to bind a port.
const bindPause = 5 * time.Second

// Relay serves NodePorts on loopback addresses. Create one with New and start Run. The other methods do not block and
// are safe for concurrent use.
type Relay struct {
	report func(r *vip.Route, err error)
	count  func(Result)
	wake   chan struct{}
	pause  time.Duration // bindPause

	mu     sync.Mutex
	addrs  []netip.Addr
	routes map[vip.Frontend]*vip.Route // Kind NodePort, TCP
	look   map[vip.Frontend]bool       // whose listeners have to be checked
	sticky map[vip.Frontend]sticky
	open   map[vip.Frontend]int // number of connections
	total  int                  // sum of open

	listeners, failures atomic.Int64
}

// Counts returns the number of listeners and of failed attempts to listen.
func (r *Relay) Counts() (listeners, failures int) {
	return int(r.listeners.Load()), int(r.failures.Load())
}

// Result is the outcome of a connection.
type Result string

// Outcomes of a connection.
const (
	Connected  Result = "connected"
	NoEndpoint Result = "no-endpoint"
	NoAnswer   Result = "no-answer" // no endpoint answered
	TooMany    Result = "too-many"  // connections are open
)

// Results lists all outcomes.
var Results = []Result{Connected, NoEndpoint, NoAnswer, TooMany}

// New returns a Relay without addresses. Run calls report from its goroutine when a port cannot be bound, once per
// reason. count is called for each connection, from any goroutine.
func New(report func(r *vip.Route, err error), count func(Result)) *Relay {
	return &Relay{
		report: report, count: count, wake: make(chan struct{}, 1), pause: bindPause,
		routes: map[vip.Frontend]*vip.Route{}, look: map[vip.Frontend]bool{}, sticky: map[vip.Frontend]sticky{}, open: map[vip.Frontend]int{},
	}
}

// Listen sets the addresses that serve NodePorts.
func (r *Relay) Listen(addrs []netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Equal(addrs, r.addrs) {
		return
	}
	r.addrs = slices.Clone(addrs)
	for f := range r.routes {
		r.look[f] = true
	}
	r.poke()
}

// Change follows changes of the table. The next connection uses the new endpoints.
func (r *Relay) Change(changes []vip.Change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range changes {
		before := r.routes[c.Frontend]
		switch {
		case c.New != nil && c.New.Kind == vip.NodePort && c.Protocol == cluster.TCP:
			r.routes[c.Frontend] = c.New
		case before != nil:
			delete(r.routes, c.Frontend)
			delete(r.sticky, c.Frontend)
		}
		if (before == nil) != (r.routes[c.Frontend] == nil) {
			r.look[c.Frontend] = true
			r.poke()
		}
	}
}

func (r *Relay) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run serves until ctx is done, then closes all listeners and connections.
func (r *Relay) Run(ctx context.Context) {
	s := sockets{relay: r, open: map[vip.Frontend]map[netip.Addr]net.Listener{}, reported: map[vip.Frontend]string{}}
	ctx, stop := context.WithCancel(ctx)
	defer s.all.Wait()
	defer s.close()
	defer stop()
	retry := time.NewTimer(r.pause)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-retry.C:
		}
		if s.reconcile(ctx) {
			retry.Reset(r.pause)
		}
	}
}

// take returns the frontends to check, with the addresses that each should listen on.
func (r *Relay) take() map[vip.Frontend][]netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[vip.Frontend][]netip.Addr{}
	for f := range r.look {
		out[f] = nil
		for _, a := range r.addrs {
			if r.routes[f] != nil && a.Is4() == f.Addr.Is4() {
				out[f] = append(out[f], a)
			}
		}
	}
	r.look = map[vip.Frontend]bool{}
	return out
}

// later queues a frontend for a retry and returns its route, or nil if the route is gone.
func (r *Relay) later(f vip.Frontend) *vip.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look[f] = true
	return r.routes[f]
}

// sockets holds the listeners that Run has opened.
type sockets struct {
	relay    *Relay
	open     map[vip.Frontend]map[netip.Addr]net.Listener
	reported map[vip.Frontend]string // reason why a port cannot be bound
	all      sync.WaitGroup
}

// reconcile closes unwanted listeners and opens missing ones. It reports whether a retry is needed.
func (s *sockets) reconcile(ctx context.Context) (again bool) {
	work := s.relay.take()
	for f, wanted := range work {
		for a, l := range s.open[f] {
			if !slices.Contains(wanted, a) {
				_ = l.Close()
				s.relay.listeners.Add(-1)
				delete(s.open[f], a)
			}
		}
		if len(wanted) == 0 {
			delete(s.open, f)
			delete(s.reported, f)
		}
	}
	for f, wanted := range work {
		err := s.listen(ctx, f, wanted)
		if err == nil {
			delete(s.reported, f)
			continue
		}
		again = true
		if r := s.relay.later(f); r != nil && s.reported[f] != err.Error() {
			s.reported[f] = err.Error()
			s.relay.report(r, err)
		}
	}
	return again
}

func (s *sockets) listen(ctx context.Context, f vip.Frontend, wanted []netip.Addr) error {
	for _, a := range wanted {
		if s.open[f][a] != nil {
			continue
		}
		var config net.ListenConfig
		l, err := config.Listen(ctx, "tcp", netip.AddrPortFrom(a, f.Port).String())
		if err != nil {
			s.relay.failures.Add(1)
			return fmt.Errorf("listen for a NodePort: %w", err)
		}
		s.relay.listeners.Add(1)
		s.all.Go(func() { s.accept(ctx, l, f) })
		if s.open[f] == nil {
			s.open[f] = map[netip.Addr]net.Listener{}
		}
		s.open[f][a] = l
	}
	return nil
}

func (s *sockets) close() {
	for _, of := range s.open {
		for _, l := range of {
			_ = l.Close()
			s.relay.listeners.Add(-1)
		}
	}
}
