package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/vip"
)

// portPause is the pause before a retry to bind a port.
const portPause = 5 * time.Second

// Ports serves the healthCheckNodePorts of Services: load balancers ask there whether this
// node has ready endpoints. Create one with NewPorts and start Run. The other methods
// do not block and are safe for concurrent use.
type Ports struct {
	health *Health
	report func(r *vip.Route, err error)
	wake   chan struct{}
	pause  time.Duration // portPause

	mu     sync.Mutex
	routes map[vip.Frontend]*vip.Route // of Kind HealthCheck
	addrs  []netip.Addr
	look   map[vip.Frontend]bool // whose listeners have to be checked
}

// NewPorts returns a Ports that answers 503 while the process is unhealthy. Run calls report,
// which may be nil, from its goroutine when a port cannot be bound, once per reason.
func NewPorts(health *Health, report func(r *vip.Route, err error)) *Ports {
	if report == nil {
		report = func(*vip.Route, error) {}
	}
	return &Ports{
		health: health, report: report, wake: make(chan struct{}, 1), pause: portPause,
		routes: map[vip.Frontend]*vip.Route{}, look: map[vip.Frontend]bool{},
	}
}

// Listen sets the addresses of this node that serve the ports. An unspecified address
// means all addresses of its family.
func (p *Ports) Listen(addrs []netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Equal(addrs, p.addrs) {
		return
	}
	p.addrs = slices.Clone(addrs)
	for f := range p.routes {
		p.look[f] = true
	}
	p.poke()
}

// Change follows changes of the table and ignores other kinds than HealthCheck. The
// next response uses the new counts.
func (p *Ports) Change(changes []vip.Change) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range changes {
		before := p.routes[c.Frontend]
		switch {
		case c.New != nil && c.New.Kind == vip.HealthCheck:
			p.routes[c.Frontend] = c.New
		case before != nil:
			delete(p.routes, c.Frontend)
		}
		if (before == nil) != (p.routes[c.Frontend] == nil) {
			p.look[c.Frontend] = true
			p.poke()
		}
	}
}

func (p *Ports) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Run serves until ctx is done, then closes all listeners.
func (p *Ports) Run(ctx context.Context) {
	s := portServers{ports: p, open: map[vip.Frontend]map[netip.Addr]*http.Server{}, reported: map[vip.Frontend]string{}, bound: newBound(mostConnections)}
	defer s.close()
	retry := time.NewTimer(p.pause)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-retry.C:
		}
		if s.reconcile(ctx) {
			retry.Reset(p.pause)
		}
	}
}

// take returns the frontends to check, with the addresses that each should listen on.
func (p *Ports) take() map[vip.Frontend][]netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[vip.Frontend][]netip.Addr{}
	for f := range p.look {
		out[f] = nil
		for _, a := range p.addrs {
			if p.routes[f] != nil && a.Is4() == f.Addr.Is4() {
				out[f] = append(out[f], a)
			}
		}
	}
	p.look = map[vip.Frontend]bool{} // replaced, not cleared: iterating a cleared map scans its old buckets
	return out
}

func (p *Ports) route(f vip.Frontend) *vip.Route {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.routes[f]
}

// portServers holds the servers that Run has started.
type portServers struct {
	ports    *Ports
	open     map[vip.Frontend]map[netip.Addr]*http.Server
	reported map[vip.Frontend]string
	bound    *bound // shared by all ports: a tenant can have any number of them
	all      sync.WaitGroup
}

// reconcile closes unwanted listeners and opens missing ones. It reports whether a port could
// not be bound and needs a retry.
func (s *portServers) reconcile(ctx context.Context) (again bool) {
	work := s.ports.take()
	for f, wanted := range work {
		for a, server := range s.open[f] {
			if !slices.Contains(wanted, a) {
				_ = server.Close() // interrupted clients ask again
				delete(s.open[f], a)
			}
		}
		if len(wanted) == 0 {
			delete(s.open, f)
			delete(s.reported, f)
		}
	}
	for f, wanted := range work {
		if err := s.listen(ctx, f, wanted); err != nil {
			again = true
			s.later(f, err)
		} else {
			delete(s.reported, f)
		}
	}
	return again
}

// later queues a frontend for a retry, and reports the reason if it is new.
func (s *portServers) later(f vip.Frontend, err error) {
	s.ports.mu.Lock()
	s.ports.look[f] = true
	s.ports.mu.Unlock()
	if r := s.ports.route(f); r != nil && s.reported[f] != err.Error() {
		s.reported[f] = err.Error()
		s.ports.report(r, err)
	}
}

func (s *portServers) listen(ctx context.Context, f vip.Frontend, wanted []netip.Addr) error {
	for _, a := range wanted {
		if s.open[f][a] != nil {
			continue
		}
		network := map[bool]string{true: "tcp4", false: "tcp6"}[a.Is4()]
		var config net.ListenConfig
		listener, err := config.Listen(ctx, network, netip.AddrPortFrom(a, f.Port).String())
		if err != nil {
			return fmt.Errorf("answering health checks of load balancers: %w", err)
		}
		server := bounded(s.ports.handler(f))
		s.all.Go(func() { _ = server.Serve(s.bound.on(listener)) }) // returns when closed
		if s.open[f] == nil {
			s.open[f] = map[netip.Addr]*http.Server{}
		}
		s.open[f][a] = server
	}
	return nil
}

func (s *portServers) close() {
	for f := range maps.Values(s.open) {
		for server := range maps.Values(f) {
			_ = server.Close()
		}
	}
	s.all.Wait()
}

// endpointsReport is the body of the response on a healthCheckNodePort.
type endpointsReport struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints int  `json:"localEndpoints"`
	Healthy        bool `json:"serviceProxyHealthy"`
}

// handler serves a frontend on any path: 200 if this node has ready endpoints and its proxy
// is healthy, else 503.
func (p *Ports) handler(f vip.Frontend) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := p.route(f)
		if r == nil {
			http.NotFound(w, nil) // the listener is about to be closed
			return
		}
		report := endpointsReport{LocalEndpoints: r.Healthy, Healthy: p.health.report(routes).Healthy}
		report.Service.Namespace, report.Service.Name = r.Owner.Service.Namespace, r.Owner.Service.Name
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(r.Healthy))
		if r.Healthy == 0 || !report.Healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		body, _ := json.MarshalIndent(report, "", "\t") // cannot fail: strings, a number and a bool
		_, _ = w.Write(append(body, '\n'))
	})
}
