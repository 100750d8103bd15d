package agent

import (
	"bytes"
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

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/loglimit"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// machine has the addresses that the test says.
type machine struct {
	mu       sync.Mutex
	addrs    []netip.Addr
	networks []node.Network
	changed  chan struct{}
}

func (m *machine) Addrs() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addrs
}

func (m *machine) Networks() []node.Network {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.networks
}

// connect gives the machine networks; those that begin with a + are routes that someone added.
func (m *machine) connect(networks ...string) {
	m.mu.Lock()
	m.networks = nil
	for _, n := range networks {
		text, added := strings.CutPrefix(n, "+")
		m.networks = append(m.networks, node.Network{Prefix: netip.MustParsePrefix(text), Added: added})
	}
	m.mu.Unlock()
	m.changed <- struct{}{}
}

func (m *machine) Changed() <-chan struct{} { return m.changed }

func (m *machine) set(addrs ...string) {
	m.mu.Lock()
	m.addrs = nil
	for _, a := range addrs {
		m.addrs = append(m.addrs, netip.MustParseAddr(a))
	}
	m.mu.Unlock()
	m.changed <- struct{}{}
}

// notebook is where the test reads logs and events.
type notebook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notebook) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notebook) Event(service cluster.Key, reason, message string) {
	fmt.Fprintf(n, "event %v %s: %s\n", service, reason, message)
}

// take returns what was written since the last take.
func (n *notebook) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.text.Reset()
	return n.text.String()
}

// stage is an agent with all that is around it.
type stage struct {
	t        *testing.T
	store    *cluster.Store
	kernel   *kernel
	machine  *machine
	notes    *notebook
	health   *healthcheck.Health
	registry *prometheus.Registry
	agent    *Agent
	builds   map[string]int
	result   chan error
	stop     context.CancelFunc
	version  uint64
	room     vip.Room // of the node
}

// play runs f in a bubble with an agent that is started by f; time passes only when
// all wait.
func play(t *testing.T, f func(s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{
			t: t, store: cluster.NewStore(), kernel: newKernel(), notes: &notebook{}, registry: prometheus.NewRegistry(),
			machine: &machine{addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, changed: make(chan struct{})},
			health:  healthcheck.NewHealth(time.Minute, healthcheck.IPv4), builds: map[string]int{}, result: make(chan error, 1), room: vip.NodeRoom,
		}
		s.agent = New(Options{
			Store: s.store, Dataplane: s.kernel, Machine: s.machine, Flows: s.kernel, Health: s.health, Events: s.notes,
			Metrics:  NewMetrics(s.registry, names, healthcheck.IPv4),
			Log:      slog.New(loglimit.NewHandler(slog.NewTextHandler(s.notes, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: loglimit.Shorten}))),
			NodeName: "node-1", GuardedPorts: []vip.Port{{Number: 22}}, NodePorts: node.NodePorts{Primary: true},
			Pods: Detection{Pods: vip.Pods{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}}, MasqueradeMark: 0x4000,
			DropsUnused: true,
		})
		s.agent.build = func(e *cluster.Entry, n vip.Node, room vip.Room) []*vip.Route {
			if e == nil {
				s.builds["gone"]++
			} else {
				s.builds[e.Service.Name]++
			}
			return vip.BuildWithin(e, n, room)
		}
		f(s)
		if s.stop != nil {
			s.stop()
			if err := <-s.result; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
		if len(s.kernel.faults) > 0 {
			t.Errorf("faults:\n%s", strings.Join(s.kernel.faults, "\n"))
		}
	})
}

func (s *stage) start() {
	ctx, cancel := context.WithCancel(s.t.Context())
	s.stop = cancel
	go func() { s.result <- s.agent.Run(ctx) }()
	s.settle()
}

// settle waits until everybody waits.
func (s *stage) settle() { synctest.Wait() }

// rig changes how the kernel behaves from now on.
func (s *stage) rig(f func(k *kernel)) {
	s.kernel.mu.Lock()
	defer s.kernel.mu.Unlock()
	f(s.kernel)
}

// pass lets time pass.
func (s *stage) pass(d time.Duration) { time.Sleep(d); s.settle() }

func (s *stage) put(objects ...cluster.Object) {
	s.version++
	s.store.Put(s.version, objects...)
}

func (s *stage) del(refs ...cluster.Ref) {
	s.version++
	s.store.Delete(s.version, refs...)
}

// service makes a ClusterIP Service in the namespace default. ports are like "53/udp";
// more are node=30053, external=192.0.2.9, created=5.
func service(name, ip string, more ...string) *cluster.Service {
	s := &cluster.Service{
		Key: cluster.Key{Namespace: "default", Name: name}, ClusterIPs: []netip.Addr{netip.MustParseAddr(ip)}, Created: 1000,
		Ports: []cluster.ServicePort{{Name: "p", Number: 80, Protocol: cluster.TCP}},
	}
	for _, m := range more {
		kind, value, _ := strings.Cut(m, "=")
		switch kind {
		case "udp":
			s.Ports = []cluster.ServicePort{{Name: "p", Number: 53, Protocol: cluster.UDP}}
		case "node":
			fmt.Sscan(value, &s.Ports[0].NodePort)
		case "external":
			s.External = &cluster.External{IPs: []netip.Addr{netip.MustParseAddr(value)}}
		case "created":
			fmt.Sscan(value, &s.Created)
		}
	}
	return s
}

// slice makes the EndpointSlice of a Service. Addresses end in what they are: a plain
// one is ready, "10.244.1.2-" terminates and serves, "10.244.1.2x" does neither.
func slice(s *cluster.Service, addrs ...string) *cluster.Slice {
	var endpoints []cluster.Endpoint
	for _, a := range addrs {
		ep := cluster.Endpoint{Addr: netip.MustParseAddr(strings.TrimRight(a, "-x")), Conditions: cluster.Ready | cluster.Serving}
		switch a[len(a)-1] {
		case '-':
			ep.Conditions = cluster.Serving | cluster.Terminating
		case 'x':
			ep.Conditions = cluster.Terminating
		}
		endpoints = append(endpoints, ep)
	}
	key := cluster.Key{Namespace: s.Namespace, Name: s.Name + "-1"}
	port := cluster.Port{Name: "p", Number: 8000 + s.Ports[0].Number, Protocol: s.Ports[0].Protocol}
	return cluster.NewSlice(key, s.Key, 1, []cluster.Port{port}, endpoints)
}

// ref names the Service of that name.
func ref(name string) cluster.Ref {
	return cluster.Ref{Kind: cluster.KindService, Key: cluster.Key{Namespace: "default", Name: name}}
}

// checkKernel compares the kernel with what a fresh build of the Store gives.
func (s *stage) checkKernel() {
	s.t.Helper()
	fresh, budget := vip.NewTable(), vip.NewBudget(s.room)
	for e := range s.store.Services() {
		budget.Set(e.Service.Key, e.Service.Created, vip.ClaimOf(e).Room)
	}
	for e := range s.store.Services() {
		fresh.Set(e.Service.Key, vip.BuildWithin(e, s.agent.node, budget.Room(e.Service.Key)))
	}
	var want []string
	for _, r := range slices.SortedFunc(fresh.All(), func(a, b *vip.Route) int { return a.Compare(b.Frontend) }) {
		want = append(want, r.String())
	}
	if diff := cmp.Diff(want, s.kernel.lines()); diff != "" {
		s.t.Errorf("fresh build(-) kernel(+):\n%s", diff)
	}
	if got := s.agent.Table(); got != fresh.String() {
		s.t.Errorf("the table is\n%s\na fresh one\n%s", got, fresh)
	}
}

func (s *stage) checkCounts(syncs, applies int) {
	s.t.Helper()
	if gotSyncs, gotApplies := s.kernel.seen(); gotSyncs != syncs || gotApplies != applies {
		s.t.Errorf("%d Syncs and %d Applies, want %d and %d", gotSyncs, gotApplies, syncs, applies)
	}
}

// metric returns the value of a metric, its labels as in {a="b"}; a histogram's count.
func (s *stage) metric(name string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			full := f.GetName()
			if len(labels) > 0 {
				full += "{" + strings.Join(labels, ",") + "}"
			}
			if full == name {
				return value(m)
			}
		}
	}
	s.t.Errorf("no metric %s", name)
	return -1
}

func value(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.Counter.GetValue()
	case m.Gauge != nil:
		return m.Gauge.GetValue()
	}
	return float64(m.Histogram.GetSampleCount())
}
