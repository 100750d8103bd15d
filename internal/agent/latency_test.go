package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// sum is the sum of a histogram with the label ip_family IPv4, in seconds.
func (s *stage) sum(name string) float64 {
	s.t.Helper()
	families, err := s.registry.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.Metric[0].Histogram.GetSampleSum()
		}
	}
	return 0
}

// The network programming latency is that of the rules, not of the Store, and a restart
// does not spoil it.
func TestNetworkProgrammingLatency(t *testing.T) {
	play(t, func(s *stage) {
		const name = "kubeproxy_network_programming_duration_seconds"
		web := service("web", "10.96.0.1")
		observed := func(what string, count int, sum float64) {
			t.Helper()
			s.settle()
			got := 0.0
			if count > 0 {
				got = s.metric(name + `{ip_family="IPv4"}`)
			}
			if got != float64(count) || s.sum(name) != sum {
				t.Errorf("%s: %v changes in %v s, want %d in %v", what, got, s.sum(name), count, sum)
			}
		}
		told := func(age time.Duration, pods ...string) {
			s.put(slice(web, pods...))
			s.agent.Programmed(healthcheck.IPv4, web.Key, time.Now().Add(-age))
		}
		s.put(web, slice(web, "10.244.1.2"))
		s.store.MarkSynced()
		s.pass(time.Hour) // and then the process begins
		s.agent.latency = newLatency()
		s.start()
		told(time.Minute, "10.244.1.3")
		observed("it changed before the process began", 0, 0)
		s.pass(time.Hour)
		told(3*time.Second, "10.244.1.4")
		observed("a change", 1, 3)

		s.rig(func(k *kernel) { k.hold, k.working = make(chan struct{}), make(chan struct{}, 1) })
		s.put(service("other", "10.96.0.2"))
		<-s.kernel.working
		told(time.Second, "10.244.1.5") // these two go with the next write
		told(0, "10.244.1.6")
		s.pass(5 * time.Second)
		s.kernel.hold <- struct{}{}
		<-s.kernel.working
		observed("another is written", 1, 3)
		s.pass(5 * time.Second)
		s.kernel.hold <- struct{}{}
		observed("they are, after a rest of a second", 3, 26)
		s.pass(restMost)

		s.rig(func(k *kernel) { k.hold, k.fail = nil, func() error { return errors.New("no buffer space") } })
		told(0, "10.244.1.7")
		observed("the kernel refuses", 3, 26)
		s.rig(func(k *kernel) { k.fail = nil })
		s.pass(retryFirst)
		observed("it does not", 4, 26+retryFirst.Seconds())

		s.put(slice(web, "10.244.1.8"))
		s.settle() // the rules are faster than the word
		s.pass(time.Second)
		s.agent.Programmed(healthcheck.IPv4, web.Key, time.Now().Add(-2*time.Second))
		observed("told after it was written", 5, 28+retryFirst.Seconds())
	})
}

func TestNoLocalEndpoints(t *testing.T) {
	play(t, func(s *stage) {
		count := func(what string, internal, external float64) {
			t.Helper()
			s.settle()
			const name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
			if got := s.metric(name + `{ip_family="IPv4",traffic_policy="internal"}`); got != internal {
				t.Errorf("%s: internal %v, want %v", what, got, internal)
			}
			if got := s.metric(name + `{ip_family="IPv4",traffic_policy="external"}`); got != external {
				t.Errorf("%s: external %v, want %v", what, got, external)
			}
		}
		web := service("web", "10.96.0.1", "node=30080", "external=192.0.2.9")
		web.InternalLocal, web.ExternalLocal = true, true
		local := slice(web, "10.244.1.2")
		local.Endpoints[0].Node = cluster.MakeAtom("node-1")
		s.put(web, slice(web, "10.244.2.2"), service("other", "10.96.0.2"))
		s.store.MarkSynced()
		s.start()
		count("elsewhere", 1, 1)
		s.put(local)
		count("here", 0, 0)
		s.put(slice(web))
		count("nowhere: refused, not dropped", 0, 0)
		s.put(slice(web, "10.244.2.2"))
		count("elsewhere again", 1, 1)
		s.del(ref("web"))
		count("gone", 0, 0)
	})
}
