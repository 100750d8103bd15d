package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Whatever happens in whatever order, and whatever goes wrong meanwhile, the kernel
// ends with what a fresh build gives, and with no flow that leads nowhere.
func TestSequencesEndAsAFreshBuild(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		steps := rapid.SliceOfN(rapid.Custom(drawStep), 1, 40).Draw(rt, "steps")
		slow := rapid.SampledFrom([]pace{defaultPace, {large: 2, step: 1, few: 1}, {large: 3, step: 5, few: 2}}).Draw(rt, "pace")
		room := rapid.SampledFrom([]vip.Room{vip.NodeRoom, {Frontends: 7, Backends: 12}}).Draw(rt, "room")
		play(t, func(s *stage) {
			s.agent.lane.pace, s.agent.budget, s.room = slow, vip.NewBudget(room), room
			tracked := tracker{}
			s.agent.Flows = tracked
			s.start()
			for _, step := range steps {
				step.do(s)
			}
			s.rig(func(k *kernel) { k.fail, k.refuse = nil, nil })
			s.store.MarkSynced()
			s.pass(2 * routesLast)
			s.checkKernel()
			s.checkLane()
			s.checkFlows(tracked)
			if n := s.metric("signpost_frontends{kind=\"ClusterIP\"}"); int(n) != clusterIPs(s.agent.table) {
				t.Errorf("%v ClusterIPs counted, there are %d", n, clusterIPs(s.agent.table))
			}
			conflicts := map[vip.Frontend]bool{}
			for e := range s.store.Services() {
				for _, r := range vip.Build(e, s.agent.node) {
					if len(s.agent.table.Losers(r.Frontend)) > 0 {
						conflicts[r.Frontend] = true
					}
				}
			}
			if n := s.metric("signpost_conflicts"); int(n) != len(conflicts) {
				t.Errorf("%v conflicts counted, there are %v", n, conflicts)
			}
		})
		if t.Failed() {
			rt.Fatalf("after %v", steps)
		}
	})
}

func clusterIPs(t *vip.Table) (n int) {
	for r := range t.All() {
		if r.Kind == vip.ClusterIP {
			n++
		}
	}
	return n
}

// step is one thing that happens. It prints, so that a failure can be read.
type step struct {
	kind string
	n, m int
	pods []string
}

func drawStep(t *rapid.T) step {
	pod := rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprintf("10.244.1.%d%s", rapid.IntRange(1, 5).Draw(t, "pod"), rapid.SampledFrom([]string{"", "", "-", "x"}).Draw(t, "state"))
	})
	return step{
		kind: rapid.SampledFrom([]string{
			"service", "service", "udp", "udp", "slice", "slice", "slice", "delete", "delete slice",
			"synced", "flush", "fail", "refuse", "recover", "time", "addresses", "node",
		}).Draw(t, "kind"),
		n:    rapid.IntRange(0, 3).Draw(t, "n"),
		m:    rapid.IntRange(0, 3).Draw(t, "m"),
		pods: rapid.SliceOfNDistinct(pod, 0, 4, func(s string) string { return s[:10] }).Draw(t, "pods"),
	}
}

func (st step) do(s *stage) {
	name := fmt.Sprintf("s%d", st.n)
	svc := service(name, fmt.Sprintf("10.96.0.%d", st.n), fmt.Sprintf("created=%d", st.m),
		fmt.Sprintf("node=%d", 30000+st.m), "external=192.0.2.9")
	switch st.kind {
	case "service":
		s.put(svc)
	case "udp":
		external := []string{"192.0.2.9", "10.96.0.1"}[st.m%2]
		s.put(service(name, fmt.Sprintf("10.96.0.%d", st.m), "udp", fmt.Sprintf("created=%d", st.m), "external="+external))
	case "slice":
		if e := s.store.Service("default", name); e != nil {
			svc = e.Service
		}
		s.put(slice(svc, st.pods...))
	case "delete":
		s.del(ref(name))
	case "delete slice":
		s.del(cluster.Ref{Kind: cluster.KindSlice, Key: cluster.Key{Namespace: "default", Name: name + "-1"}})
	case "synced":
		s.store.MarkSynced()
	case "flush":
		s.kernel.flush()
		s.pass(tickPeriod)
	case "fail":
		s.rig(func(k *kernel) { k.fail = func() error { return errors.New("busy") } })
	case "refuse":
		s.rig(func(k *kernel) {
			k.refuse = func(r *vip.Route) error {
				if r.Owner.Service.Name == name {
					return dataplane.ErrNotSupported
				}
				return nil
			}
		})
	case "recover":
		s.rig(func(k *kernel) { k.fail, k.refuse = nil, nil })
	case "time":
		s.pass(time.Duration(st.n) * 100 * time.Millisecond)
	case "addresses":
		if s.store.Synced() { // until then nobody reads the channel
			s.pass(syncPoll)
			s.machine.set(fmt.Sprintf("192.0.2.%d", 1+st.n))
		}
	case "node":
		s.put(&cluster.Node{Name: fmt.Sprintf("node-%d", st.n), Addrs: []netip.Addr{netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 1+st.m))}})
	}
	if st.m%2 == 0 { // else the next step comes at once
		s.settle()
	}
}

// tracker remembers the last word about each frontend: flows to these backends stay.
type tracker map[vip.Frontend][]netip.AddrPort

func (tr tracker) Clean(_ []netip.Addr, list []conntrack.Keep) {
	for _, k := range list {
		tr[k.Frontend] = append(slices.Clone(k.Backends), k.Draining...)
	}
}

// checkFlows: what may stay at the end is at most what serves now; a backend that was
// kept and serves no more would have a flow left to it.
func (s *stage) checkFlows(tr tracker) {
	s.t.Helper()
	for at, kept := range tr {
		serves := map[netip.AddrPort]bool{}
		if r := s.agent.table.Route(at); r != nil {
			e := s.store.Service(r.Owner.Service.Namespace, r.Owner.Service.Name)
			for i := range e.Service.Ports {
				if e.Service.Ports[i].Name == r.Owner.Port {
					there := serving(e, &e.Service.Ports[i])
					for _, b := range append(slices.Clone(there.ready), there.draining...) {
						serves[b] = true
					}
				}
			}
		}
		for _, b := range kept {
			if !serves[b] {
				s.t.Errorf("a flow of %v to %v may stay, and nobody serves there", at, b)
			}
		}
	}
	for r := range s.agent.table.All() {
		if _, asked := tr[r.Frontend]; r.Protocol == cluster.UDP && !asked {
			s.t.Errorf("nobody looked for the flows of %v from before it was a frontend", r.Frontend)
		}
	}
}
