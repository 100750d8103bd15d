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

// bindPause is how long after a port could not be bound it is tried again.
const bindPause = 5 * time.Second

// Relay serves NodePorts on loopback addresses. Make one with New and start Run; the other methods do not wait and
// are safe for concurrent use.
type Relay struct {
	report func(r *vip.Route, err error)
	count  func(Result)
	wake   chan struct{}
	pause  time.Duration // bindPause

	mu     sync.Mutex
	addrs  []netip.Addr
	routes map[vip.Frontend]*vip.Route // of Kind NodePort, TCP
	look   map[vip.Frontend]bool       // whose ports may have to be opened or closed
	sticky map[vip.Frontend]sticky
	open   map[vip.Frontend]int // connections
	total  int                  // of open

	listeners, failures atomic.Int64
}

// Counts returns on how many ports and addresses it listens now, and how many attempts to have failed.
func (r *Relay) Counts() (listeners, failures int) {
	return int(r.listeners.Load()), int(r.failures.Load())
}

// Result is what became of a connection.
type Result string

// The results.
const (
	Connected  Result = "connected"
	NoEndpoint Result = "no-endpoint"
	NoAnswer   Result = "no-answer" // of an endpoint
	TooMany    Result = "too-many"  // are open
)

// Results are all of them.
var Results = []Result{Connected, NoEndpoint, NoAnswer, TooMany}

// New returns a Relay that listens on no address. report is called from Run's goroutine when a port cannot be bound,
// once until the reason changes; count from any goroutine for each connection.
func New(report func(r *vip.Route, err error), count func(Result)) *Relay {
	return &Relay{
		report: report, count: count, wake: make(chan struct{}, 1), pause: bindPause,
		routes: map[vip.Frontend]*vip.Route{}, look: map[vip.Frontend]bool{}, sticky: map[vip.Frontend]sticky{}, open: map[vip.Frontend]int{},
	}
}

// Listen says on which addresses NodePorts are served.
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

// Change takes over what changed in the table. The next connection is for the endpoints that are there now.
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

// Run serves until ctx is done; then nothing is bound any more, and all connections are closed.
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

// take returns what to look at, with the addresses that each is wanted on.
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

// later has a frontend looked at again, and returns its route; nil: it is gone.
func (r *Relay) later(f vip.Frontend) *vip.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.look[f] = true
	return r.routes[f]
}

// sockets are the listeners that Run has open.
type sockets struct {
	relay    *Relay
	open     map[vip.Frontend]map[netip.Addr]net.Listener
	reported map[vip.Frontend]string // why one cannot be bound
	all      sync.WaitGroup
}

// reconcile closes what is not wanted any more and opens what is, and reports whether something is to be tried again.
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
