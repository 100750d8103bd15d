package agent

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// With CutHalfOpen the cleaner is told of TCP as well; a port of TCP and one of UDP with
// one name are two.
func TestHalfOpenConnectionsAreCut(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.flows = newFlows(true, nil)
		happened := func(name string, want ...string) {
			t.Helper()
			s.settle()
			if got := s.kernel.happened(); !slices.Equal(got, want) {
				t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		web := service("web", "10.96.0.20")
		s.put(web, slice(web, "10.244.1.2", "10.244.1.3"))
		s.store.MarkSynced()
		s.start()
		happened("start", "sync", "clean [10.96.0.20 tcp 80 keep [10.244.1.2:8080 10.244.1.3:8080]]")
		s.put(slice(web, "10.244.1.2", "10.244.1.3", "10.244.1.4"))
		happened("a backend more", "apply")
		s.put(slice(web, "10.244.1.2-", "10.244.1.4"))
		happened("one is gone, one drains", "apply",
			"clean [10.96.0.20 tcp 80 keep [10.244.1.4:8080] and flows to [10.244.1.2:8080]]")
	})
}

// Frontends from before the start are looked at once, also those that are gone by then. Of TCP only those can have
// flows that the rules would lead: those that are there.
func TestFrontendsFromBefore(t *testing.T) {
	play(t, func(s *stage) {
		udp := func(addr string) vip.Frontend {
			return vip.Frontend{Addr: netip.MustParseAddr(addr), Port: 53, Protocol: cluster.UDP}
		}
		tcp := udp("10.96.0.12")
		tcp.Protocol = cluster.TCP
		s.agent.flows = newFlows(false, []vip.Frontend{udp("10.96.0.10"), udp("10.96.0.11"), tcp})
		dns := service("dns", "10.96.0.10", "udp")
		s.put(dns, slice(dns, "10.244.1.2"))
		s.store.MarkSynced()
		s.rig(func(k *kernel) { k.fail = func() error { return errors.New("not yet") } })
		s.start()
		s.settle()
		s.rig(func(k *kernel) { k.fail = nil })
		s.pass(retryFirst)
		want := []string{"sync", "sync", "clean [10.96.0.10 udp 53 keep [10.244.1.2:8053] 10.96.0.11 udp 53 keep []]"}
		if got := s.kernel.happened(); !slices.Equal(got, want) {
			t.Errorf("start:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(s.agent.flows.look) != 0 {
			t.Errorf("left: %v", s.agent.flows.look)
		}
	})
}
