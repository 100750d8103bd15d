package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// hinted is the slice of a Service with an endpoint for each zone.
func hinted(s *cluster.Service, zones ...string) *cluster.Slice {
	sl := slice(s)
	var list []cluster.Endpoint
	for i, z := range zones {
		list = append(list, cluster.Endpoint{
			Addr: netip.AddrFrom4([4]byte{10, 244, 9, byte(i + 1)}), ForZones: cluster.MakeAtom(z), Conditions: cluster.Ready,
		})
	}
	return cluster.NewSlice(sl.Key, sl.Service, 1, sl.Ports, list)
}

// What the Node object says may change at any time: all Services are built again if it
// matters to them, none if it does not, and the kernel is told what it must know.
func TestNodeChanges(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.Pods = Detection{NodeCIDR: true}
		web, other := service("web", "10.96.0.1"), service("other", "10.96.0.2")
		self := func(zone string, pods ...netip.Prefix) *cluster.Node {
			return &cluster.Node{Name: "node-1", Addrs: s.machine.addrs, Zone: cluster.MakeAtom(zone), PodCIDRs: pods}
		}
		s.put(web, hinted(web, "a", "b"), other, hinted(other, "a", "b"), self("a"))
		s.store.MarkSynced()
		s.start()
		if log := s.notes.take(); !strings.Contains(log, "the Node object has no podCIDRs yet") {
			t.Errorf("log %q", log)
		}
		steps := []struct {
			name           string
			node           *cluster.Node
			builds         int
			syncs, applies int // more than before
			backend        string
			outside        string // the decision for who is outside at the ClusterIP
		}{
			{"as it is", self("a"), 0, 0, 0, "10.244.9.1", "cluster"},
			{"another zone", self("b"), 2, 0, 1, "10.244.9.2", "cluster"},
			{"networks for pods", self("b", prefix("10.244.1.0/24"), prefix("10.244.2.0/24"), prefix("fd00:1::/64")), 2, 1, 0, "10.244.9.2", "cluster+masquerade"},
			{"a second of a family, which does not count", self("b", prefix("10.244.1.0/24"), prefix("10.244.3.0/24"), prefix("fd00:1::/64")), 0, 0, 0, "10.244.9.2", "cluster+masquerade"},
			{"another network", self("b", prefix("10.244.7.0/24")), 2, 1, 0, "10.244.9.2", "cluster+masquerade"},
			{"zone and network at once", self("a", prefix("10.244.8.0/24")), 2, 1, 0, "10.244.9.1", "cluster+masquerade"},
		}
		for _, step := range steps {
			syncs, applies := s.kernel.seen()
			clear(s.builds)
			s.put(step.node)
			s.settle()
			s.checkCounts(syncs+step.syncs, applies+step.applies)
			s.checkKernel()
			if n := s.builds["web"] + s.builds["other"]; n != step.builds {
				t.Errorf("%s: %d Services built, want %d", step.name, n, step.builds)
			}
			r := s.agent.table.Route(vip.Frontend{Addr: web.ClusterIPs[0], Port: 80, Protocol: cluster.TCP})
			if len(r.Cluster) != 1 || r.Cluster[0].Addr().String() != step.backend || r.Policy.Of(vip.FromOutside).String() != step.outside {
				t.Errorf("%s: %v", step.name, r)
			}
		}
		if got := fmt.Sprint(s.kernel.host.Pods.CIDRs); got != "[10.244.8.0/24]" {
			t.Errorf("the kernel knows pods in %s", got)
		}
		s.del(self("").Ref())
		s.settle()
		s.checkKernel()
		if s.kernel.host.Pods.Tell(true) {
			t.Error("pods are told without a Node object")
		}
	})
}

// A node is known by an address that the machine does not have, as behind a cloud's NAT: the log says that no
// NodePort is served on it.
func TestNodeAddressIsElsewhere(t *testing.T) {
	play(t, func(s *stage) {
		s.machine.addrs = []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("fd00:30::11")}
		s.put(&cluster.Node{Name: "node-1", Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("fd00:30::11")}})
		s.store.MarkSynced()
		s.start()
		if got := fmt.Sprint(s.kernel.host.NodePortAddrs); got != "[fd00:30::11]" {
			t.Errorf("NodePorts are served on %s", got)
		}
		if log := s.notes.take(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, "missing=[203.0.113.9] addresses=[fd00:30::11]") {
			t.Errorf("log %q", log)
		}
	})
}

// The ranges of ClusterIPs may change at any time; Services do not depend on them.
func TestServiceCIDRs(t *testing.T) {
	play(t, func(s *stage) {
		s.put(service("web", "10.96.0.1"), &cluster.ServiceCIDR{Name: "kubernetes", CIDRs: []netip.Prefix{prefix("10.96.0.0/12")}})
		s.store.MarkSynced()
		s.start()
		clear(s.builds)
		has := func(want string, syncs int) {
			t.Helper()
			s.settle()
			if got := fmt.Sprint(s.kernel.host.ServiceCIDRs); got != want {
				t.Errorf("ranges %s, want %s", got, want)
			}
			s.checkCounts(syncs, 0)
		}
		has("[10.96.0.0/12]", 1)
		s.put(&cluster.ServiceCIDR{Name: "more", CIDRs: []netip.Prefix{prefix("fd00:96::/112"), prefix("10.96.0.0/12")}})
		has("[10.96.0.0/12 fd00:96::/112]", 2)
		s.del(cluster.Ref{Kind: cluster.KindServiceCIDR, Key: cluster.Key{Name: "kubernetes"}})
		has("[10.96.0.0/12 fd00:96::/112]", 2) // another one has it too
		s.del(cluster.Ref{Kind: cluster.KindServiceCIDR, Key: cluster.Key{Name: "more"}})
		has("[]", 3)
		if len(s.builds) != 0 {
			t.Errorf("built %v", s.builds)
		}
	})
}

// Each way to tell pods, with and without a Node object.
func TestDetection(t *testing.T) {
	n := &cluster.Node{PodCIDRs: []netip.Prefix{prefix("10.244.1.0/24"), prefix("fd00::/64"), prefix("10.244.2.0/24")}}
	for _, tt := range []struct {
		name string
		d    Detection
		n    *cluster.Node
		want string
	}{
		{"nobody", Detection{}, n, "not told"},
		{"cluster CIDR", Detection{Pods: vip.Pods{CIDRs: []netip.Prefix{prefix("10.0.0.0/8")}}}, n, "in 10.0.0.0/8"},
		{"node CIDR", Detection{NodeCIDR: true}, n, "in 10.244.1.0/24,fd00::/64"},
		{"node CIDR, no Node", Detection{NodeCIDR: true}, nil, "not told"},
		{"bridge", Detection{Pods: vip.Pods{Interface: "cni0"}}, n, "by cni0"},
		{"interfaces", Detection{Pods: vip.Pods{Prefix: "cali"}}, nil, "by cali*"},
	} {
		if got := tt.d.of(tt.n).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
