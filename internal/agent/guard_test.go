package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// withPorts adds TCP ports to a Service.
func withPorts(s *cluster.Service, numbers ...uint16) *cluster.Service {
	for _, n := range numbers {
		s.Ports = append(s.Ports, cluster.ServicePort{Name: "p" + strings.Repeat("x", int(n%7)) + s.Name, Number: n, Protocol: cluster.TCP})
	}
	return s
}

// A Service gets no address of a ServiceCIDR and no port of the node. The rest of it is
// served, and who is refused hears it once.
func TestRefused(t *testing.T) {
	play(t, func(s *stage) {
		refused := func(want float64) {
			t.Helper()
			s.settle()
			s.checkKernel()
			if n := s.metric("signpost_refused_frontends"); n != want {
				t.Errorf("%v refused, want %v", n, want)
			}
		}
		has := func(line string, want bool) {
			t.Helper()
			if got := strings.Contains(s.agent.Table(), line); got != want {
				t.Errorf("%q in the table: %v, want %v\n%s", line, got, want, s.agent.Table())
			}
		}
		s.put(&cluster.Node{Name: "node-1", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, KubeletPort: 10250})
		s.store.MarkSynced()
		s.start()
		s.put(service("evil", "10.96.0.1", "external=10.96.7.7"), service("plain", "10.96.0.5"))
		refused(0) // it is not known where ClusterIPs come from
		has("10.96.7.7 tcp 80 ExternalIP", true)
		clear(s.builds)
		s.put(&cluster.ServiceCIDR{Name: "kubernetes", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}})
		refused(1)
		has("10.96.7.7", false)
		has("10.96.0.1 tcp 80 ClusterIP", true)
		if s.builds["evil"] != 1 || s.builds["plain"] != 0 {
			t.Errorf("built %v, want the Service with an external address alone", s.builds)
		}
		if log := s.notes.take(); !strings.Contains(log, "event default/evil FrontendRefused: ExternalIP 10.96.7.7 is refused: it is in 10.96.0.0/16, a range of ClusterIPs") {
			t.Errorf("log %q", log)
		}
		s.put(slice(service("evil", "10.96.0.1"), "10.244.1.2"))
		refused(1)
		if log := s.notes.take(); strings.Contains(log, "refused") {
			t.Errorf("told again: %q", log)
		}
		s.del(cluster.Ref{Kind: cluster.KindServiceCIDR, Key: cluster.Key{Name: "kubernetes"}})
		refused(0)
		has("10.96.7.7 tcp 80 ExternalIP", true)

		s.put(withPorts(service("evil", "10.96.0.1", "external=192.0.2.1"), 22, 10250, 10251))
		refused(2)
		has("192.0.2.1 tcp 80 ExternalIP", true)
		has("192.0.2.1 tcp 10251 ExternalIP", true)
		has("192.0.2.1 tcp 10250", false)
		has("192.0.2.1 tcp 22", false)
		s.machine.set("192.0.2.1", "192.0.2.77")
		refused(2)
		s.put(withPorts(service("evil", "10.96.0.1", "external=192.0.2.77"), 22))
		refused(1)
		clear(s.builds)
		s.machine.set("192.0.2.1") // the second address is not this machine's any more
		refused(0)
		if s.builds["evil"] != 1 || s.builds["plain"] != 0 {
			t.Errorf("built %v, want the Service with that address alone", s.builds)
		}
		s.del(ref("evil"))
		refused(0)
		if len(s.agent.refusals.of) != 0 {
			t.Errorf("left: %v", s.agent.refusals.of)
		}
	})
}

// The endpoints of default/kubernetes are guarded, as they are now.
func TestAPIServersAreGuarded(t *testing.T) {
	play(t, func(s *stage) {
		api := service("kubernetes", "10.96.0.1")
		s.put(api, slice(api, "192.0.2.50"))
		s.store.MarkSynced()
		s.start()
		refused := func(want float64) {
			t.Helper()
			s.settle()
			s.checkKernel()
			if n := s.metric("signpost_refused_frontends"); n != want {
				t.Errorf("%v refused, want %v\n%s", n, want, s.agent.Table())
			}
		}
		port := apiServers(s.store)[0].Port()
		s.put(withPorts(service("evil", "10.96.0.2", "external=192.0.2.50"), port))
		refused(1)
		s.put(slice(api, "192.0.2.51"))
		refused(0)
		s.machine.set("192.0.2.50", "192.0.2.51")
		refused(1)
	})
}

// A Service that flaps between two states with thousands of conflicts and refused
// addresses leaves a bounded log, and one namespace does not silence another.
func TestLogOfAFlappingServiceIsBounded(t *testing.T) {
	play(t, func(s *stage) {
		owner := withPorts(service("owner", "10.96.0.1", "external=192.0.2.9", "created=1"))
		evil := service("evil", "10.96.0.2", "created=2")
		evil.External = &cluster.External{}
		for i := range byte(40) {
			owner.External.IPs = append(owner.External.IPs, netip.AddrFrom4([4]byte{198, 51, 100, i}))
			evil.External.IPs = append(evil.External.IPs, netip.AddrFrom4([4]byte{198, 51, 100, i}), netip.AddrFrom4([4]byte{10, 96, 7, i}))
		}
		for n := range uint16(100) {
			for _, svc := range []*cluster.Service{owner, evil} {
				svc.Ports = append(svc.Ports, cluster.ServicePort{Name: fmt.Sprintf("p%d", n), Number: 1000 + n, Protocol: cluster.TCP})
			}
		}
		s.put(owner, &cluster.ServiceCIDR{Name: "kubernetes", CIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}})
		s.store.MarkSynced()
		s.start()
		s.notes.take()
		for range 100 {
			s.put(evil)
			s.pass(100 * time.Millisecond)
			s.put(service("evil", "10.96.0.2", "created=2"))
			s.pass(100 * time.Millisecond)
		}
		log := ""
		for line := range strings.Lines(s.notes.take()) {
			if !strings.HasPrefix(line, "event ") { // a Recorder bounds those
				log += line
			}
		}
		if lines := strings.Count(log, "\n"); lines > 50 || len(log) > 20_000 || !strings.Contains(log, "frontends=4040") {
			t.Errorf("%d lines, %d bytes: want at most 50 and 20,000\n%.3000s", lines, len(log), log)
		}
	})
}
