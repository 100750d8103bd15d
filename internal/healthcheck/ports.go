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

// portPause is how long after a port could not be bound it is tried again.
const portPause = 5 * time.Second

// Ports answers load balancers on the healthCheckNodePorts of Services: whether this node
// has endpoints that are ready. Make one with NewPorts and start Run; the other methods
// do not wait and are safe for concurrent use.
type Ports struct {
	health *Health
	tell   func(r *vip.Route, err error)
	wake   chan struct{}
	pause  time.Duration // portPause

	mu     sync.Mutex
	routes map[vip.Frontend]*vip.Route // of Kind HealthCheck
	addrs  []netip.Addr
	look   map[vip.Frontend]bool // whose ports may have to be opened or closed
}

// NewPorts returns a Ports that answers 503 while the process is in bad health. tell,
// which may be nil, is called from Run's goroutine when a port cannot be bound, once
// until the reason changes.
func NewPorts(health *Health, tell func(r *vip.Route, err error)) *Ports {
	if tell == nil {
		tell = func(*vip.Route, error) {}
	}
	return &Ports{
		health: health, tell: tell, wake: make(chan struct{}, 1), pause: portPause,
		routes: map[vip.Frontend]*vip.Route{}, look: map[vip.Frontend]bool{},
	}
}

// Listen says on which addresses of this node the ports are; an unspecified address
// stands for all of its family.
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

// Change takes over what changed in the table; of no interest is what is no
// healthCheckNodePort before or after. The next answer tells the new count.
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

// Run serves until ctx is done; then nothing is bound any more.
func (p *Ports) Run(ctx context.Context) {
	s := portServers{ports: p, open: map[vip.Frontend]map[netip.Addr]*http.Server{}, told: map[vip.Frontend]string{}, bound: newBound(mostConnections)}
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

// take returns what to look at, with the address that each is wanted on.
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
	p.look = map[vip.Frontend]bool{} // not cleared: to walk through a map costs what it once held
	return out
}

func (p *Ports) route(f vip.Frontend) *vip.Route {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.routes[f]
}

// portServers are the servers that Run has open.
type portServers struct {
	ports *Ports
	open  map[vip.Frontend]map[netip.Addr]*http.Server
	told  map[vip.Frontend]string
	bound *bound // of all ports together: any tenant can have more of them
	all   sync.WaitGroup
}

// reconcile closes what is not wanted any more and opens what is, and reports whether
// something could not be bound and is to be tried again.
func (s *portServers) reconcile(ctx context.Context) (again bool) {
	work := s.ports.take()
	for f, wanted := range work {
		for a, server := range s.open[f] {
			if !slices.Contains(wanted, a) {
				_ = server.Close() // whoever asks at this moment asks again
				delete(s.open[f], a)
			}
		}
		if len(wanted) == 0 {
			delete(s.open, f)
			delete(s.told, f)
		}
	}
	for f, wanted := range work {
		if err := s.listen(ctx, f, wanted); err != nil {
			again = true
			s.later(f, err)
		} else {
			delete(s.told, f)
		}
	}
	return again
}

// later has a frontend looked at again, and tells why if that is new.
func (s *portServers) later(f vip.Frontend, err error) {
	s.ports.mu.Lock()
	s.ports.look[f] = true
	s.ports.mu.Unlock()
	if r := s.ports.route(f); r != nil && s.told[f] != err.Error() {
		s.told[f] = err.Error()
		s.ports.tell(r, err)
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
		s.all.Go(func() { _ = server.Serve(s.bound.on(listener)) }) // until it is closed
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

// endpointsReport is the body of the answer on a healthCheckNodePort.
type endpointsReport struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints int  `json:"localEndpoints"`
	Healthy        bool `json:"serviceProxyHealthy"`
}

// handler answers for a frontend, whatever the path: 200 if this node has endpoints that
// are ready and its proxy is well, else 503.
func (p *Ports) handler(f vip.Frontend) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r := p.route(f)
		if r == nil {
			http.NotFound(w, nil) // it is about to be closed
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
		body, _ := json.MarshalIndent(report, "", "\t") // strings, a number and a bool
		_, _ = w.Write(append(body, '\n'))
	})
}
