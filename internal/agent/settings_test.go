package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// The configuration may change while the agent runs: the kernel is told, and Services are
// built again only where it matters to them.
func TestReconfigure(t *testing.T) {
	play(t, func(s *stage) {
		s.put(service("web", "10.96.0.1", "external=192.0.2.9"), service("other", "10.96.0.2"))
		s.store.MarkSynced()
		s.start()
		o := s.agent.Options
		for _, step := range []struct {
			name          string
			change        func()
			builds, syncs int
		}{
			{"nothing", func() {}, 0, 0},
			{"the mark", func() { o.MasqueradeMark = 0x80 }, 0, 1},
			{"addresses for NodePorts", func() { o.NodePorts = node.NodePorts{CIDRs: []netip.Prefix{prefix("198.51.100.0/24")}} }, 0, 1},
			{"pods are told otherwise", func() { o.Pods = Detection{Pods: vip.Pods{Prefix: "veth"}} }, 2, 1},
			{"masqueradeAll", func() { o.MasqueradeAll = true }, 2, 0},
			{"no external IPs", func() { o.NoExternalIPs = true }, 2, 0},
		} {
			clear(s.builds)
			before, _ := s.kernel.seen()
			step.change()
			s.agent.Reconfigure(o)
			s.settle()
			if syncs, _ := s.kernel.seen(); syncs-before != step.syncs || s.builds["web"]+s.builds["other"] != step.builds {
				t.Errorf("%s: %d Syncs, built %v; want %d and %d", step.name, syncs-before, s.builds, step.syncs, step.builds)
			}
			s.checkKernel()
		}
		if table := s.agent.Table(); strings.Contains(table, "192.0.2.9") {
			t.Errorf("external IPs are not allowed, and one is in the table:\n%s", table)
		}
		if s.kernel.host.MasqueradeMark != 0x80 || s.kernel.host.Pods.Prefix != "veth" || len(s.kernel.host.NodePortAddrs) != 0 {
			t.Errorf("the kernel has %+v", s.kernel.host)
		}
	})
}
