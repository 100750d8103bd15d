package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/signpost-dns/signpost/internal/vip"
)

// follower writes down what it is told.
type follower struct{ told []string }

func (f *follower) Follow(nodeAddrs []netip.Addr, changes []vip.Change) {
	line := fmt.Sprint(nodeAddrs)
	for _, c := range changes {
		line += fmt.Sprintf(" %v %t>%t", c.Frontend, c.Old != nil, c.New != nil)
	}
	f.told = append(f.told, line)
}

// Listen and Change make a follower what serves NodePorts on loopback addresses.
func (f *follower) Listen(addrs []netip.Addr)   { f.told = append(f.told, fmt.Sprint("listen ", addrs)) }
func (f *follower) Change(changes []vip.Change) { f.Follow(nil, changes) }

// What serves NodePorts on loopback addresses is told of them before the first change, of every change, and of other addresses.
func TestRelay(t *testing.T) {
	play(t, func(s *stage) {
		f := &follower{}
		s.agent.Relay = f
		s.agent.NodePorts.Relay = []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		web := service("web", "10.96.0.20", "node=30080")
		s.put(web, slice(web, "10.244.1.9"))
		s.store.MarkSynced()
		s.start()
		s.settle()
		want := []string{"listen [127.0.0.1]", "[] node-ipv4 tcp 30080 false>true 10.96.0.20 * * false>true 10.96.0.20 tcp 80 false>true"}
		if !slices.Equal(f.told, want) {
			t.Errorf("start: %q, want %q", f.told, want)
		}
		f.told = nil
		o := s.agent.Options
		o.NodePorts.Relay = nil
		s.agent.Reconfigure(o)
		s.settle()
		if len(f.told) == 0 || f.told[0] != "listen []" {
			t.Errorf("another list: %q, want no address first", f.told)
		}
	})
}

// Who counts traffic is told of every change of the table once, and where NodePorts are served.
func TestTraffic(t *testing.T) {
	play(t, func(s *stage) {
		f := &follower{}
		s.agent.Traffic = f
		happened := func(name string, want ...string) {
			t.Helper()
			s.settle()
			if !slices.Equal(f.told, want) {
				t.Errorf("%s: %q, want %q", name, f.told, want)
			}
			f.told = nil
		}
		web := service("web", "10.96.0.20", "node=30080")
		s.put(web, slice(web, "10.244.1.9"))
		s.store.MarkSynced()
		s.start()
		happened("start", "[192.0.2.1] node-ipv4 tcp 30080 false>true 10.96.0.20 * * false>true 10.96.0.20 tcp 80 false>true")
		s.put(slice(web, "10.244.1.8"))
		happened("other endpoints", "[192.0.2.1] node-ipv4 tcp 30080 true>true 10.96.0.20 tcp 80 true>true")
		s.machine.set("192.0.2.1", "192.0.2.2")
		happened("another address", "[192.0.2.1 192.0.2.2]")
		s.del(ref("web"))
		happened("gone", "[192.0.2.1 192.0.2.2] node-ipv4 tcp 30080 true>false 10.96.0.20 * * true>false 10.96.0.20 tcp 80 true>false")
	})
}
