package hostile

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/internal/agent"
	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/loglimit"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/source"
	"github.com/signpost-dns/signpost/internal/vip"
)

// What a tenant may cost others, by count.
const (
	// mostElements is how many elements of a tenant may be written between a change in another namespace and its write.
	mostElements = 16384
	// mostLog is how many bytes of log and events a tenant may cause in a minute.
	mostLog = 128 << 10
)

// paper takes a log and the Events, and counts.
type paper struct {
	mu     sync.Mutex
	bytes  int
	events int
	begin  strings.Builder // of the text, for a failure
}

// Write implements io.Writer.
func (p *paper) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes += len(text)
	if p.begin.Len() < 8<<10 {
		p.begin.Write(text)
	}
	return len(text), nil
}

// Event implements agent.Events.
func (p *paper) Event(service cluster.Key, reason, message string) {
	fmt.Fprintf(p, "event %v %s %s\n", service, reason, message)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.events++
}

// machine has the addresses of the node, which do not change.
type machine []netip.Addr

func (m machine) Addrs() []netip.Addr      { return m }
func (m machine) Networks() []node.Network { return nil }
func (m machine) Changed() <-chan struct{} { return nil }

// shelf puts objects of the API into a store.
type shelf struct {
	store   *cluster.Store
	version uint64
}

// Put implements sink.
func (s *shelf) Put(objects ...runtime.Object) {
	for _, o := range objects {
		s.version++
		o = o.DeepCopyObject()
		if m, err := meta.Accessor(o); err == nil {
			m.SetResourceVersion(fmt.Sprint(s.version))
		}
		if ours, _ := source.Convert(o, source.Options{}); ours != nil {
			s.store.Put(s.version, ours)
		}
	}
}

// Delete implements sink.
func (s *shelf) Delete(objects ...runtime.Object) {
	for _, o := range objects {
		s.version++
		if ours, _ := source.Convert(o, source.Options{}); ours != nil {
			s.store.Delete(s.version, ours.Ref())
		}
	}
}

// stage is an agent with a plane, in a bubble.
type stage struct {
	*testing.T
	town
	shelf
	plane *plane
	paper *paper
	agent *agent.Agent
}

// play calls f with an agent that serves the Services of the other namespaces.
func play(t *testing.T, f func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := town{node: netip.MustParseAddr("172.18.0.11"), pods: []netip.Addr{
			netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.244.1.3"), netip.MustParseAddr("10.244.1.4"),
		}}
		s := &stage{T: t, town: w, shelf: shelf{store: cluster.NewStore()}, plane: newPlane(), paper: &paper{}}
		s.agent = agent.New(agent.Options{
			Store: s.store, Dataplane: s.plane, Machine: machine{w.node}, Flows: s.plane, Events: s.paper,
			Health:   healthcheck.NewHealth(time.Minute, healthcheck.IPv4),
			Metrics:  agent.NewMetrics(prometheus.NewRegistry(), dataplane.Metrics{Failures: "failures"}, healthcheck.IPv4),
			Log:      slog.New(loglimit.NewHandler(slog.NewTextHandler(s.paper, &slog.HandlerOptions{ReplaceAttr: loglimit.Shorten}))),
			NodeName: nodeName, NodePorts: node.NodePorts{Primary: true}, MasqueradeMark: 0x4000,
			GuardedPorts: []vip.Port{{Number: 10256, Protocol: cluster.TCP}, {Number: 10249, Protocol: cluster.TCP}, {Number: 22}},
			Pods:         agent.Detection{Pods: vip.Pods{CIDRs: []netip.Prefix{netip.MustParsePrefix(podCIDR)}}},
		})
		s.Put(w.infrastructure()...)
		s.Put(w.victims(0, 1)...)
		s.store.MarkSynced()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.agent.Run(ctx) }()
		s.rest()
		f(s)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// rest waits until everything is written.
func (s *stage) rest() {
	s.Helper()
	for before, now := -1, 0; before != now; {
		before = now
		time.Sleep(10 * time.Second)
		_, now = s.plane.seen()
	}
}

// leads reports whether the route of a ClusterIP has exactly these pods.
func (s *stage) leads(address string, ready ...int) bool {
	s.plane.mu.Lock()
	defer s.plane.mu.Unlock()
	r := s.plane.routes[vip.Frontend{Addr: netip.MustParseAddr(address), Port: 80, Protocol: cluster.TCP}]
	if r == nil || len(r.Cluster) != len(ready) {
		return false
	}
	for i, pod := range ready {
		if r.Cluster[i].Addr() != s.pods[pod] {
			return false
		}
	}
	return true
}

// change changes the endpoints of the Service young and counts what is written before that is.
func (s *stage) change(ready ...int) (elements, writes int) {
	s.Helper()
	firstElements, firstWrites := s.plane.seen()
	s.Put(s.young(ready...))
	for n := 0; !s.leads(youngVIP, ready...); n++ {
		if n > 100_000 {
			for line := range strings.Lines(s.agent.Table()) {
				if strings.HasPrefix(line, youngVIP+" tcp 80 ") {
					s.Log(line)
				}
			}
			s.Fatalf("young has the endpoints %v, and its route still has the ones before", ready)
		}
		time.Sleep(time.Millisecond)
	}
	elements, writes = s.plane.seen()
	return elements - firstElements, writes - firstWrites
}

// TestTenantTable lets a tenant write at random. The routes of other namespaces stay exactly the same, a change of theirs
// does not wait for many elements of the tenant, the tenant has no frontend that it must not have, and the log stays short.
func TestTenantTable(t *testing.T) {
	states(t, func(t *testing.T, d dice) {
		play(t, func(s *stage) {
			ends := [][]int{{0}, {1}, {0, 1}}
			want := map[string]map[vip.Frontend]string{}
			for _, ready := range ends {
				s.change(ready...)
				s.rest()
				want[fmt.Sprint(ready)] = s.plane.of(false)
			}
			n := newTenant(d, s.town, sizes{services: 200, ports: 20, endpoints: 100, slices: 5, text: 250 << 10}, &s.shelf)
			begin, logged := time.Now(), s.paper.bytes
			now := ends[2]
			for range n.between(3, 10) {
				n.step()
				if n.chance(50) {
					synctest.Wait() // the write has begun
				}
				ready := ends[slices.IndexFunc(ends, func(e []int) bool { return slices.Equal(e, now) })]
				for slices.Equal(ready, now) {
					ready = pick(d, ends...)
				}
				now = ready
				if elements, writes := s.change(now...); elements > mostElements {
					s.Errorf("%d elements in %d writes came before a change of one endpoint, want at most %d; the tenant did\n%s", elements, writes, mostElements, n.story())
				}
				if n.chance(30) {
					s.rest()
				}
				s.judge(n, want[fmt.Sprint(now)])
				if s.Failed() {
					return
				}
			}
			minutes := 1 + int(time.Since(begin).Minutes())
			if n := s.paper.bytes - logged; n > minutes*mostLog {
				s.Errorf("%d bytes of log and %d events in %d minutes, want at most %d a minute; it begins\n%s", n, s.paper.events, minutes, mostLog, s.paper.begin.String())
			}
			n.clear()
			s.rest()
			if left := s.plane.of(true); len(left) > 0 {
				s.Errorf("the tenant has no objects, and %d frontends; it did\n%s", len(left), n.story())
			}
			s.judge(n, want[fmt.Sprint(now)])
		})
	})
}

// judge checks that other namespaces have the routes that they must have, and the tenant only its own.
func (s *stage) judge(n *tenant, want map[vip.Frontend]string) {
	s.Helper()
	if diff := difference(want, s.plane.of(false)); diff != "" {
		s.Errorf("the routes of other namespaces differ:\n%sthe tenant did\n%s", diff, n.story())
	}
	for line := range strings.Lines(s.agent.Table()) {
		has, lost, _ := strings.Cut(line, " (also claimed by ")
		for _, namespace := range []string{"bank/", "kube-system/", "default/"} {
			if strings.Contains(lost, namespace) {
				s.Errorf("another namespace lost a frontend: %sthe tenant did\n%s", line, n.story())
			}
		}
		if len(has) > 16<<10 && strings.Count(has, ":") < 100 || strings.ContainsAny(has, "\x1b\x00") {
			s.Errorf("text of the tenant in the table: %.1000q; the tenant did\n%s", has, n.story())
		}
	}
	for f, line := range s.plane.of(true) {
		if why := s.forbidden(f); why != "" {
			s.Errorf("the tenant has %s: %.300s\nit did\n%s", why, line, n.story())
		}
	}
}

// forbidden says why a tenant cannot have a frontend, or "".
func (s *stage) forbidden(f vip.Frontend) string {
	own := []uint16{kubeletPort, apiPort, 10256, 10249} // over TCP
	switch a := f.Addr; {
	case f.IsNodePort():
	case a.IsLoopback(), a.IsLinkLocalUnicast(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "an address that has another meaning"
	case a == s.node && (f.Port == 22 || f.Protocol == cluster.TCP && slices.Contains(own, f.Port)):
		return "a port of the node's own"
	case netip.MustParsePrefix(serviceCIDR).Contains(a) && a.As4()[2] < 126:
		return "an address of the ServiceCIDR that the API server did not give to it"
	}
	return ""
}
