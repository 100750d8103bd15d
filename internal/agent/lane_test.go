package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/vip"
)

// largeSlice is a slice of n endpoints from an address on.
func largeSlice(svc *cluster.Service, from, n int) *cluster.Slice {
	var addrs []string
	for i := from; i < from+n; i++ {
		addrs = append(addrs, netip.AddrFrom4([4]byte{10, 200, byte(i >> 8), byte(i)}).String())
	}
	s := slice(svc, addrs...)
	s.Ports[0].Name = svc.Ports[0].Name
	for _, p := range svc.Ports[1:] {
		s.Ports = append(s.Ports, cluster.Port{Name: p.Name, Number: s.Ports[0].Number, Protocol: p.Protocol})
	}
	return s
}

// backendsOf counts the backends that the kernel has of a Service, by port.
func (s *stage) backendsOf(name string) (n []int) {
	s.kernel.mu.Lock()
	defer s.kernel.mu.Unlock()
	ports := map[string]int{}
	for _, r := range s.kernel.routes {
		if r.Owner.Service.Name == name && r.Kind == vip.ClusterIP {
			ports[r.Owner.Port] = len(r.Cluster)
		}
	}
	for i := range 10 {
		if have, ok := ports[fmt.Sprintf("p%d", i)]; ok {
			n = append(n, have)
		}
	}
	if have, ok := ports["p"]; ok {
		n = append(n, have)
	}
	return n
}

// checkLane: nothing waits, and what is said of it is forgotten.
func (s *stage) checkLane() {
	s.t.Helper()
	l := &s.agent.lane
	if len(l.small)+len(l.big)+len(l.queued)+len(l.busy)+len(l.moves) > 0 || l.building != nil {
		s.t.Errorf("left in the lane: %+v", l)
	}
	if n := len(s.agent.latency.written); n > 0 {
		s.t.Errorf("%d changes wait for their latency to be observed", n)
	}
	s.checkPending(0, 0)
}

// stepwise has each write of the kernel wait for next, until free is called.
func (s *stage) stepwise() (next, free func()) {
	hold := make(chan struct{})
	s.rig(func(k *kernel) { k.hold, k.working = hold, make(chan struct{}, 1000) })
	next = func() {
		hold <- struct{}{}
		s.settle()
	}
	return next, func() {
		s.rig(func(k *kernel) { k.hold = nil })
		close(hold)
		s.pass(10 * restMost)
	}
}

// Between two steps of a large Service other changes are written.
func TestOtherChangesGoBetweenSteps(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.lane.pace = pace{large: 10, step: 20, few: 4}
		s.store.MarkSynced()
		s.start()
		next, free := s.stepwise()
		large := service("large", "10.96.0.1")
		s.put(large, largeSlice(large, 0, 64))
		s.settle() // the first step is in the kernel's hands
		var small []string
		for i := range 3 {
			name := fmt.Sprintf("small%d", i)
			s.put(service(name, fmt.Sprintf("10.96.1.%d", i)))
			next() // the step of the large one
			next() // the small one
			if lines := strings.Join(s.kernel.lines(), "\n"); !strings.Contains(lines, "default/"+name+":p") {
				t.Fatalf("%s did not go between the steps:\n%s", name, lines)
			}
			small = append(small, fmt.Sprint(s.backendsOf("large")))
		}
		if got := strings.Join(small, " "); got != "[33] [53] [64]" {
			t.Errorf("backends of the large Service before each small one: %s, want [33] [53] [64]", got)
		}
		free()
		s.checkKernel()
		s.checkLane()
	})
}

// Large Services take turns, and one that changes at each step arrives in spite of that.
func TestLargeServicesTakeTurns(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.lane.pace = pace{large: 10, step: 20, few: 4}
		s.store.MarkSynced()
		s.start()
		next, free := s.stepwise()
		restless, patient := service("restless", "10.96.0.1"), service("patient", "10.96.0.2")
		for i := range 5 {
			for _, svc := range []*cluster.Service{restless, patient} {
				svc.Ports = append(svc.Ports, cluster.ServicePort{Name: fmt.Sprintf("p%d", i), Number: uint16(1000 + i), Protocol: cluster.TCP})
			}
		}
		restless.Ports, patient.Ports = restless.Ports[1:], patient.Ports[1:]
		s.put(restless, largeSlice(restless, 0, 15))
		s.settle()
		s.put(patient, largeSlice(patient, 0, 15))
		s.settle()
		steps, arrived := 0, 0
		for s.backendsOf("patient") == nil || len(s.backendsOf("patient")) < 5 {
			if steps++; steps > 20 {
				t.Fatalf("after %d steps: %v and %v", steps, s.backendsOf("restless"), s.backendsOf("patient"))
			}
			s.put(largeSlice(restless, steps, 15))
			next()
			s.pass(restMost)
			if fmt.Sprint(s.backendsOf("restless")) == "[15 15 15 15 15]" {
				arrived++
			}
		}
		if arrived == 0 {
			t.Error("the Service that changes at each step was never written as a whole")
		}
		free()
		s.checkKernel()
		s.checkLane()
	})
}

// A burst of small Services that is too much for one write goes in several.
func TestABurstGoesInSeveralWrites(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.lane.pace = pace{large: 10, step: 20, few: 4}
		s.store.MarkSynced()
		s.start()
		var objects []cluster.Object
		for i := range 50 {
			svc := service(fmt.Sprintf("s%d", i), fmt.Sprintf("10.96.1.%d", i))
			objects = append(objects, svc, largeSlice(svc, 0, 1+i%5))
		}
		s.put(objects...)
		s.pass(restMost)
		s.checkKernel()
		s.checkLane()
		if _, applies := s.kernel.seen(); applies < 10 {
			t.Errorf("%d writes of 200 frontends and backends, want at least 10 of 20", applies)
		}
	})
}

// A large Service has its latency observed when its last part is written, and its old flows
// are looked for then.
func TestALargeServiceIsProgrammedWithItsLastStep(t *testing.T) {
	play(t, func(s *stage) {
		const name = `kubeproxy_network_programming_duration_seconds{ip_family="IPv4"}`
		s.agent.lane.pace = pace{large: 10, step: 20, few: 4}
		large, small := service("large", "10.96.0.1", "udp"), service("small", "10.96.0.2")
		s.put(large, largeSlice(large, 0, 64), small)
		s.store.MarkSynced()
		s.start()
		s.kernel.happened()
		s.pass(time.Second)
		next, free := s.stepwise()
		s.put(largeSlice(large, 100, 64))
		s.agent.Programmed(healthcheck.IPv4, large.Key, time.Now())
		s.settle()
		s.put(slice(small, "10.244.1.2"))
		s.agent.Programmed(healthcheck.IPv4, small.Key, time.Now())
		s.pass(time.Second)
		next()
		next()
		if n := s.metric(name); n != 1 || s.sum("kubeproxy_network_programming_duration_seconds") != 1 {
			t.Errorf("%v changes observed after the small Service, want its own", n)
		}
		s.pass(2 * time.Second)
		for range 3 {
			if s.backendsOf("large"); strings.Contains(strings.Join(s.kernel.happened(), "\n"), "clean") {
				t.Error("flows are removed before the last step")
			}
			next()
		}
		if sum := s.sum("kubeproxy_network_programming_duration_seconds"); s.metric(name) != 2 || sum != 4 {
			t.Errorf("latencies of %v s after the last step, want 1 and 3", sum)
		}
		if got := strings.Join(s.kernel.happened(), "\n"); !strings.Contains(got, "clean [10.96.0.1 udp 53 keep [10.200.0.100:8053") {
			t.Errorf("no flows are removed after the last step: %s", got)
		}
		free()
		s.checkKernel()
		s.checkLane()
	})
}

// A kernel that refuses does not stop the lane, and the next Sync has what it did.
func TestTheKernelRefusesAStep(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.lane.pace = pace{large: 10, step: 20, few: 4}
		s.store.MarkSynced()
		s.start()
		s.rig(func(k *kernel) { k.fail = func() error { return errors.New("no buffer space") } })
		large := service("large", "10.96.0.1", "udp")
		s.put(large, largeSlice(large, 0, 64))
		s.settle()
		s.del(ref("large"))
		s.settle()
		s.put(large)
		s.rig(func(k *kernel) { k.fail = nil })
		s.pass(retryLast)
		s.checkKernel()
		s.checkLane()
	})
}

// What is beyond the room of the node is left out, said once, and counted; it comes when there is room.
func TestWhatIsLeftOut(t *testing.T) {
	play(t, func(s *stage) {
		s.room = vip.Room{Frontends: 100, Backends: 64}
		s.agent.budget = vip.NewBudget(s.room)
		s.store.MarkSynced()
		s.start()
		s.notes.take()
		left := func(want float64) {
			t.Helper()
			s.pass(restMost)
			s.checkKernel()
			if n := s.metric(`signpost_left_out{what="backends"}`); n != want {
				t.Errorf("%v backends are left out, want %v", n, want)
			}
		}
		older, newer := service("older", "10.96.0.1", "created=1"), service("newer", "10.96.0.2", "created=2")
		s.put(older, newer, largeSlice(older, 0, 40), largeSlice(newer, 0, 40))
		left(16)
		log := s.notes.take()
		if strings.Count(log, "some are routed on no node") != 1 || !strings.Contains(log, "event default/newer LeftOut: 0 frontends and 16 backends") {
			t.Errorf("log %q: want a line and an event about the newer Service", log)
		}
		s.put(largeSlice(older, 0, 30))
		left(6)
		s.del(ref("older"))
		left(0)
		if log := s.notes.take(); strings.Contains(log, "are routed on no node") {
			t.Errorf("said again: %q", log)
		}
	})
}
