package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// book writes down what a load balancer could be told.
type book struct{ lines []string }

func (b *book) Listen(addrs []netip.Addr) {
	if line := "listen " + fmt.Sprint(addrs); !slices.Contains(b.lines, line) {
		b.lines = append(b.lines, line)
	}
}

func (b *book) Change(changes []vip.Change) {
	for _, c := range changes {
		healthy := "none"
		if c.New != nil {
			healthy = fmt.Sprint(c.New.Kind, " ", c.New.Healthy)
		}
		b.lines = append(b.lines, fmt.Sprintf("%v %s", c.Frontend, healthy))
	}
}

func (b *book) take() string {
	text := strings.Join(b.lines, ", ")
	b.lines = nil
	return text
}

// Load balancers are told what the rules say, and not before they do.
func TestHealthCheckNodePorts(t *testing.T) {
	play(t, func(s *stage) {
		told := &book{}
		s.agent.Ports = told
		says := func(what, want string) {
			t.Helper()
			s.settle()
			if got := told.take(); got != want {
				t.Errorf("%s: told %q, want %q", what, got, want)
			}
		}
		const at = "listen [192.0.2.1]"
		checked := func(port uint16) *cluster.Service {
			web := service("web", "10.96.0.1")
			web.Type, web.ExternalLocal = cluster.LoadBalancer, true
			web.External = &cluster.External{Policy: cluster.Policy{HealthCheckPort: port}}
			return web
		}
		local := func(addrs ...string) *cluster.Slice {
			sl := slice(checked(0), addrs...)
			for i := range sl.Endpoints {
				sl.Endpoints[i].Node = cluster.MakeAtom("node-1")
			}
			return sl
		}
		s.put(checked(32000), local("10.244.1.2", "10.244.1.3"), service("other", "10.96.0.2"),
			&cluster.Node{Name: "node-1", Addrs: s.machine.addrs})
		s.store.MarkSynced()
		s.start()
		says("start", at+", node-ipv4 tcp 32000 HealthCheck 2")
		s.put(slice(service("other", "10.96.0.2"), "10.244.1.9"))
		says("another Service", at)
		s.rig(func(k *kernel) { k.fail = func() error { return errors.New("no buffer space") } })
		s.put(local("10.244.1.2"))
		s.put(local("10.244.1.2-"))
		s.put(local("10.244.1.4", "10.244.1.5", "10.244.1.6"))
		says("the rules cannot be written", "")
		s.rig(func(k *kernel) { k.fail = nil })
		s.pass(retryLast)
		says("they are", at+", node-ipv4 tcp 32000 HealthCheck 3")
		s.put(checked(32001))
		says("another port", at+", node-ipv4 tcp 32000 none, node-ipv4 tcp 32001 HealthCheck 3")
		s.put(&cluster.Node{Name: "node-1", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7")}})
		says("an address that is not here yet", "listen []")
		s.machine.set("192.0.2.1", "192.0.2.7")
		says("another address", "listen [192.0.2.7]")
		s.del(ref("web"))
		says("gone", "listen [192.0.2.7], node-ipv4 tcp 32001 none")
	})
}
