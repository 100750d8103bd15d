package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

func TestNothingIsWrittenBeforeTheStoreIsComplete(t *testing.T) {
	play(t, func(s *stage) {
		web := service("web", "10.96.0.1")
		s.put(web, slice(web, "10.244.1.2"))
		s.start()
		s.pass(time.Hour)
		s.put(service("dns", "10.96.0.2"))
		s.pass(time.Hour)
		s.checkCounts(0, 0)
		if log := s.notes.take(); !strings.Contains(log, "waiting for the first complete list") {
			t.Errorf("nobody said why nothing happens: %q", log)
		}
		s.store.MarkSynced()
		s.pass(time.Second)
		s.checkCounts(1, 0)
		s.checkKernel()
		if s.builds["web"] != 1 || s.builds["dns"] != 1 {
			t.Errorf("built %v, want each once", s.builds)
		}
	})
}

func TestEndBeforeTheStoreIsComplete(t *testing.T) {
	play(t, func(s *stage) {
		s.start()
		s.stop()
		s.settle()
		s.checkCounts(0, 0)
	})
}

func TestOneChangeCostsOneBuild(t *testing.T) {
	play(t, func(s *stage) {
		var objects []cluster.Object
		for i := range 200 {
			svc := service(fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.1.%d", i))
			objects = append(objects, svc, slice(svc, "10.244.1.2"))
		}
		s.put(objects...)
		s.store.MarkSynced()
		s.start()
		clear(s.builds)
		s.rig(func(k *kernel) { k.changes = 0 })
		s.put(slice(service("s7", "10.96.1.7"), "10.244.1.2", "10.244.1.3"))
		s.settle() // no time passes: the first change goes at once
		s.checkCounts(1, 1)
		s.checkKernel()
		if len(s.builds) != 1 || s.builds["s7"] != 1 || s.kernel.changes != 1 {
			t.Errorf("built %v and wrote %d changes, want one of s7", s.builds, s.kernel.changes)
		}
		s.del(ref("s8"))
		s.settle()
		s.checkCounts(1, 2)
		s.checkKernel()
	})
}

func TestBurstGoesTogether(t *testing.T) {
	play(t, func(s *stage) {
		s.store.MarkSynced()
		s.start()
		s.rig(func(k *kernel) { k.hold, k.working = make(chan struct{}), make(chan struct{}, 1) })
		first := service("first", "10.96.0.1")
		s.put(first)
		<-s.kernel.working // the kernel is busy with it
		for i := range 100 {
			svc := service(fmt.Sprintf("s%d", i%10), fmt.Sprintf("10.96.1.%d", i%10))
			s.put(svc, slice(svc, fmt.Sprintf("10.244.1.%d", i+1)))
		}
		s.kernel.hold <- struct{}{}
		<-s.kernel.working
		s.kernel.hold <- struct{}{}
		s.settle()
		s.checkCounts(1, 2)
		if s.kernel.changes != 22 { // the port and the rest of each address
			t.Errorf("%d changes, want 22", s.kernel.changes)
		}
		if n := s.builds["s3"]; n != 1 {
			t.Errorf("a Service that changed ten times was built %d times, want once", n)
		}
		s.checkKernel()
	})
}

// The debug page does not wait for the kernel: no lock is held meanwhile.
func TestTableCanBeReadWhileTheKernelWorks(t *testing.T) {
	play(t, func(s *stage) {
		s.store.MarkSynced()
		s.start()
		s.rig(func(k *kernel) { k.hold, k.working = make(chan struct{}), make(chan struct{}, 1) })
		s.put(service("web", "10.96.0.1"))
		<-s.kernel.working
		if !strings.Contains(s.agent.Table(), "default/web:p") {
			t.Errorf("table %q", s.agent.Table())
		}
		s.kernel.hold <- struct{}{}
		s.settle()
	})
}

func TestFailureLeadsToSync(t *testing.T) {
	play(t, func(s *stage) {
		s.store.MarkSynced()
		s.start()
		s.notes.take()
		s.rig(func(k *kernel) { k.fail = func() error { return errors.New("no buffer space") } })
		s.put(service("web", "10.96.0.1"))
		s.settle()
		s.checkCounts(1, 1)
		if log := s.notes.take(); !strings.Contains(log, "no buffer space") || !strings.Contains(log, "100ms") {
			t.Errorf("log %q", log)
		}
		s.put(service("dns", "10.96.0.2")) // waits for the next attempt
		s.settle()
		s.checkCounts(1, 1)
		for pause, n := retryFirst, 2; pause < retryLast; pause, n = pause*2, n+1 {
			s.pass(pause)
			s.checkCounts(n, 1)
		}
		syncs, _ := s.kernel.seen()
		s.pass(10 * retryLast)
		if got, _ := s.kernel.seen(); got != syncs+10 {
			t.Errorf("%d attempts in ten times the longest pause, want 10", got-syncs)
		}
		s.rig(func(k *kernel) { k.fail = nil })
		s.pass(retryLast)
		s.checkKernel()
		s.checkCounts(syncs+11, 1)
		s.put(service("more", "10.96.0.3"))
		s.settle()
		s.checkCounts(syncs+11, 2)
		s.checkKernel()
		if n := s.metric(`kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"}`); n != float64(syncs+10) {
			t.Errorf("%v failures counted, want %d", n, syncs+10)
		}
	})
}

// A route that works in part is not reported as one that does not work.
func TestRoutesThatWorkInPart(t *testing.T) {
	play(t, func(s *stage) {
		s.store.MarkSynced()
		s.kernel.refuse = func(r *vip.Route) error {
			if r.Kind == vip.ClusterIP {
				return fmt.Errorf("%w, without session affinity", dataplane.ErrInPart)
			}
			return nil
		}
		s.start()
		s.put(service("sticky", "10.96.0.1"))
		s.settle()
		if log := s.notes.take(); !strings.Contains(log, "event default/sticky ProgrammedInPart") || strings.Contains(log, "NotProgrammed") {
			t.Errorf("log %q: want the event ProgrammedInPart alone", log)
		}
	})
}

func TestRoutesThatAreRefused(t *testing.T) {
	play(t, func(s *stage) {
		s.store.MarkSynced()
		s.kernel.refuse = func(r *vip.Route) error {
			if r.Owner.Service.Name == "bad" && r.Kind == vip.ClusterIP {
				return errors.New("too many backends")
			}
			return nil
		}
		s.start()
		s.put(service("bad", "10.96.0.1"))
		s.settle()
		s.put(service("good", "10.96.0.2"))
		s.settle()
		s.checkCounts(1, 2)
		if got := s.kernel.lines(); len(got) != 3 || strings.Contains(strings.Join(got, "\n"), "default/bad:p") {
			t.Errorf("in the kernel: %q", got)
		}
		log := s.notes.take()
		if strings.Count(log, "too many backends") != 2 || !strings.Contains(log, "event default/bad NotProgrammed") {
			t.Errorf("log %q: want a line and an event", log)
		}
		if n := s.metric("signpost_route_errors"); n != 1 {
			t.Errorf("%v route errors, want 1", n)
		}
		s.pass(time.Hour)
		syncs, _ := s.kernel.seen()
		if log := s.notes.take(); strings.Contains(log, "too many backends") || syncs < 5 || syncs > 20 {
			t.Errorf("%d attempts in an hour, log %q: want a few, and no more lines", syncs, log)
		}
		s.rig(func(k *kernel) { k.refuse = nil })
		s.pass(routesLast)
		s.checkKernel()
		if n := s.metric("signpost_route_errors"); n != 0 {
			t.Errorf("%v route errors, want none", n)
		}
		syncs, _ = s.kernel.seen()
		s.pass(24 * time.Hour)
		if again, _ := s.kernel.seen(); again != syncs {
			t.Errorf("%d more Syncs with nothing to do", again-syncs)
		}
	})
}

// A route that is refused and whose Service goes is not failing any more; ten thousand
// are not ten thousand lines.
func TestManyRefusedRoutes(t *testing.T) {
	play(t, func(s *stage) {
		for i := range 200 { // of two frontends each
			s.put(service(fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.1.%d", i)))
		}
		s.store.MarkSynced()
		s.kernel.refuse = func(*vip.Route) error { return errors.New("no") }
		s.start()
		if n := strings.Count(s.notes.take(), "level=ERROR"); n != maxLines+1 {
			t.Errorf("%d lines, want %d", n, maxLines+1)
		}
		for i := range 200 {
			s.del(ref(fmt.Sprintf("s%d", i)))
		}
		s.settle()
		if n := s.metric("signpost_route_errors"); n != 0 {
			t.Errorf("%v route errors, want none", n)
		}
	})
}

func TestRepair(t *testing.T) {
	play(t, func(s *stage) {
		s.put(service("web", "10.96.0.1"))
		s.store.MarkSynced()
		s.start()
		s.pass(10 * time.Second)
		s.checkCounts(1, 0)
		s.kernel.flush()
		s.pass(tickPeriod)
		s.checkCounts(2, 0)
		s.checkKernel()
		if n := s.metric("signpost_repairs_total"); n != 1 {
			t.Errorf("%v repairs, want 1", n)
		}
		if log := s.notes.take(); !strings.Contains(log, "another program changed the rules") {
			t.Errorf("log %q", log)
		}
		s.rig(func(k *kernel) { k.unseen = errors.New("cannot look") })
		s.pass(time.Minute)
		s.checkCounts(2, 0) // who cannot look does not write
		if n := strings.Count(s.notes.take(), "cannot look"); n != 1 {
			t.Errorf("%d lines, want 1", n)
		}
	})
}

func TestAnotherProcessHasTheRules(t *testing.T) {
	play(t, func(s *stage) {
		s.store.MarkSynced()
		s.kernel.fail = func() error { return fmt.Errorf("table: %w", dataplane.ErrInUse) }
		s.start()
		if err := <-s.result; !errors.Is(err, dataplane.ErrInUse) || !strings.Contains(err.Error(), "node-1") {
			t.Errorf("Run: %v", err)
		}
		s.stop()
		s.stop = nil
	})
}

func TestNodeAndAddresses(t *testing.T) {
	play(t, func(s *stage) {
		addrs := func(want string) {
			t.Helper()
			if got := fmt.Sprint(s.kernel.host.NodePortAddrs); got != want {
				t.Errorf("NodePorts are served on %s, want %s", got, want)
			}
		}
		s.machine.addrs = append(s.machine.addrs, netip.MustParseAddr("192.0.2.2"))
		s.store.MarkSynced()
		s.start()
		addrs("[192.0.2.1 192.0.2.2]") // there is no Node object
		if log := s.notes.take(); !strings.Contains(log, "no Node object with an address") {
			t.Errorf("log %q", log)
		}
		s.put(&cluster.Node{Name: "node-1", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.2")}})
		s.settle()
		addrs("[192.0.2.2]")
		s.checkCounts(2, 0)
		s.put(&cluster.Node{Name: "node-2", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
		s.settle()
		s.checkCounts(2, 0) // another node
		s.machine.set("192.0.2.2", "192.0.2.3")
		s.settle()
		s.checkCounts(2, 0) // an address that serves nothing
		s.machine.set("192.0.2.3")
		s.settle()
		addrs("[]")
		s.checkCounts(3, 0)
		if s.kernel.host.MasqueradeMark != 0x4000 || len(s.kernel.host.Pods.CIDRs) != 1 {
			t.Errorf("host %+v", s.kernel.host)
		}
		if s.health != nil && len(s.builds) != 0 {
			t.Errorf("built %v for an address", s.builds)
		}
	})
}

func TestConflicts(t *testing.T) {
	play(t, func(s *stage) {
		contested := func(want float64) {
			t.Helper()
			s.settle()
			s.checkKernel()
			if n := s.metric("signpost_conflicts"); n != want {
				t.Errorf("%v conflicts, want %v", n, want)
			}
		}
		s.store.MarkSynced()
		s.start()
		s.put(service("old", "10.96.0.1", "external=192.0.2.9", "created=1"))
		contested(0)
		s.put(service("new", "10.96.0.2", "external=192.0.2.9", "created=2"))
		contested(1)
		if log := s.notes.take(); !strings.Contains(log, "owner=default/old:p claimant=default/new:p") || !strings.Contains(log, "event default/new FrontendConflict") {
			t.Errorf("log %q", log)
		}
		s.put(service("new", "10.96.0.3", "external=192.0.2.9", "created=2"))
		contested(1)
		if log := s.notes.take(); strings.Contains(log, "claim the same frontend") {
			t.Errorf("told again: %q", log)
		}
		s.put(service("older", "10.96.0.4", "external=192.0.2.9", "created=0"))
		contested(1)
		s.del(ref("old"))
		contested(1)
		s.del(ref("older"))
		contested(0)
		s.put(service("old", "10.96.0.1", "external=192.0.2.9", "created=1"))
		contested(1)
		s.del(ref("new"), ref("old"))
		contested(0)
		if len(s.agent.conflicts.lost) != 0 || len(s.agent.conflicts.contested) != 0 {
			t.Errorf("left: %+v", s.agent.conflicts)
		}
	})
}

// A Service that loses many frontends costs one line and one Event, and says why.
func TestConflictOfManyFrontends(t *testing.T) {
	play(t, func(s *stage) {
		ports := func(svc *cluster.Service, more ...uint16) *cluster.Service {
			for _, n := range more {
				svc.Ports = append(svc.Ports, cluster.ServicePort{Name: fmt.Sprintf("p%d", n), Number: n, Protocol: cluster.TCP})
			}
			return svc
		}
		s.store.MarkSynced()
		s.start()
		s.put(ports(service("evil", "10.96.0.1", "external=10.96.0.2", "created=1"), 81, 82, 83))
		s.settle()
		s.put(service("victim", "10.96.0.2", "created=2"))
		s.settle()
		s.checkKernel()
		log := s.notes.take()
		if strings.Count(log, "claim the same frontend") != 1 || strings.Count(log, "event ") != 1 || !strings.Contains(log, "frontends=4") ||
			!strings.Contains(log, "event default/evil FrontendConflict: 10.96.0.2 tcp 80 belongs to default/victim:p: ClusterIP precedes ExternalIP (and 3 more frontends)") {
			t.Errorf("log %q", log)
		}
		if n := s.metric("signpost_conflicts"); n != 4 {
			t.Errorf("%v conflicts, want 4", n)
		}
		s.del(ref("victim"))
		s.settle()
		s.checkKernel()
		if n := s.metric("signpost_conflicts"); n != 0 {
			t.Errorf("%v conflicts, want none", n)
		}
	})
}

// Thousands of claims of one frontend do not make a change of the Service that has it
// dearer.
func TestCostOfAContestedFrontend(t *testing.T) {
	cost := func(claims int) float64 {
		c, table := newConflicts(), vip.NewTable()
		set := func(name string, backend string) int {
			r := &vip.Route{Kind: vip.ExternalIP, Owner: vip.Owner{Service: cluster.Key{Namespace: "ns", Name: name}}}
			r.Frontend = vip.Frontend{Addr: netip.MustParseAddr("192.0.2.9"), Port: 80, Protocol: cluster.TCP}
			r.Cluster = []vip.Backend{{AddrPort: netip.MustParseAddrPort(backend)}}
			routes := []*vip.Route{r}
			differ := table.Set(r.Owner.Service, routes)
			return len(c.update(table, r.Owner.Service, routes, differ))
		}
		set("a", "10.244.1.1:80")
		for i := range claims {
			if set(fmt.Sprintf("b%05d", i), "10.244.1.1:80") != 1 {
				t.Fatal("want a conflict")
			}
		}
		i := 0
		return testing.AllocsPerRun(50, func() {
			i++
			if set("a", fmt.Sprintf("10.244.1.%d:80", i%2)) != 0 {
				t.Fatal("want no conflict")
			}
		})
	}
	if few, many := cost(10), cost(5000); many > few {
		t.Errorf("%v allocations with 5,000 claims, %v with 10", many, few)
	}
}

func TestStaleFlows(t *testing.T) {
	play(t, func(s *stage) {
		happened := func(name string, want ...string) {
			t.Helper()
			s.settle()
			if got := s.kernel.happened(); !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		dns, web := service("dns", "10.96.0.10", "udp", "node=30053"), service("web", "10.96.0.20")
		s.put(dns, slice(dns, "10.244.1.2"), web, slice(web, "10.244.1.9"))
		s.store.MarkSynced()
		s.start()
		happened("start: flows from before", "sync",
			"clean [10.96.0.10 udp 53 keep [10.244.1.2:8053] 10.96.0.20 tcp 80 keep what a rule translated "+
				"node-ipv4 udp 30053 keep [10.244.1.2:8053]]")
		s.put(slice(dns, "10.244.1.2", "10.244.1.3"))
		happened("a backend more", "apply")
		s.put(slice(dns, "10.244.1.2-", "10.244.1.3"))
		happened("a backend terminates and serves", "apply",
			"clean [10.96.0.10 udp 53 keep [10.244.1.3:8053] and flows to [10.244.1.2:8053] "+
				"node-ipv4 udp 30053 keep [10.244.1.3:8053] and flows to [10.244.1.2:8053]]")
		s.put(slice(dns, "10.244.1.2x", "10.244.1.3"))
		happened("it serves no more: no route changes",
			"clean [10.96.0.10 udp 53 keep [10.244.1.3:8053] node-ipv4 udp 30053 keep [10.244.1.3:8053]]")
		s.put(slice(dns, "10.244.1.3"))
		happened("it is gone")
		s.put(slice(web, "10.244.1.8"))
		happened("TCP", "apply")
		s.put(slice(dns))
		happened("nobody serves", "apply", "clean [10.96.0.10 udp 53 keep [] node-ipv4 udp 30053 keep []]")
		s.put(slice(dns, "10.244.1.4"))
		happened("somebody serves again", "apply")
		s.put(service("dns", "10.96.0.10", "udp", "external=192.0.2.9"))
		happened("an address comes, the NodePort goes", "apply",
			"clean [192.0.2.9 udp 53 keep [10.244.1.4:8053] node-ipv4 udp 30053 keep []]")
		s.del(ref("dns"))
		happened("the Service is gone", "apply", "clean [10.96.0.10 udp 53 keep [] 192.0.2.9 udp 53 keep []]")
		s.kernel.flush()
		s.pass(tickPeriod)
		happened("repair without UDP", "sync", "clean [10.96.0.20 tcp 80 keep what a rule translated]")
		s.put(service("late", "10.96.0.30"))
		happened("a Service of TCP is new", "apply", "clean [10.96.0.30 tcp 80 keep what a rule translated]")
		s.del(ref("late"))
		happened("a Service of TCP is gone", "apply")
		if len(s.agent.flows.serving)+len(s.agent.flows.ports)+len(s.agent.flows.look) != 0 {
			t.Errorf("left: %+v", s.agent.flows)
		}
	})
}

// Flows to backends that the dataplane has yet to remove are removed after that. Other changes do not wait for it.
func TestFlowsWaitForBackendsToLeave(t *testing.T) {
	play(t, func(s *stage) {
		dns, web := service("dns", "10.96.0.10", "udp"), service("web", "10.96.0.20")
		s.put(dns, slice(dns, "10.244.1.2", "10.244.1.3"), web)
		s.store.MarkSynced()
		s.start()
		s.kernel.happened()
		const leaves = 20 * time.Millisecond
		s.rig(func(k *kernel) { k.leaves = leaves })
		happened := func(name string, after time.Duration, want ...string) {
			t.Helper()
			s.pass(after)
			if got := s.kernel.happened(); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		s.put(slice(dns, "10.244.1.3"))
		happened("a backend leaves", leaves/2, "apply")
		s.put(slice(web, "10.244.1.9"))
		happened("another Service meanwhile", 0, "apply")
		const clean = "clean [10.96.0.10 udp 53 keep [10.244.1.3:8053]]"
		happened("the backend has left, the other change not", leaves/2, "finish", clean)
		happened("the other has, too", leaves/2, "finish", clean)
		happened("nothing is left", 3*tickPeriod)

		// Without a pause of changes, flows are removed each time that something is due.
		var cleaned int
		for i := range 20 {
			s.put(slice(dns, fmt.Sprintf("10.244.1.%d", 10+i)))
			s.pass(leaves / 4)
			cleaned += strings.Count(strings.Join(s.kernel.happened(), "\n"), "clean")
		}
		s.pass(leaves)
		got := s.kernel.happened()
		if last := "clean [10.96.0.10 udp 53 keep [10.244.1.29:8053]]"; len(got) == 0 || got[len(got)-1] != last {
			t.Errorf("at the end: %q, want %q", got, last)
		}
		if cleaned == 0 {
			t.Error("no flow is removed as long as changes come")
		}
	})
}
