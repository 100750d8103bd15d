package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// ranged has a ServiceCIDR, and checks what the kernel is to enforce.
type ranged struct{ *stage }

func (r ranged) has(what, enforced string, syncs int) string {
	r.t.Helper()
	r.settle()
	if got := fmt.Sprint(r.kernel.host.Enforced()); got != enforced {
		r.t.Errorf("%s: %s are enforced, want %s", what, got, enforced)
	}
	if got, _ := r.kernel.seen(); got != syncs {
		r.t.Errorf("%s: %d Syncs, want %d", what, got, syncs)
	}
	return r.notes.take()
}

// says checks that there is one warning, and that it names all of this.
func (r ranged) says(log string, want ...string) {
	r.t.Helper()
	if n := strings.Count(log, `level=WARN msg="a ServiceCIDR`); n != min(len(want), 1) {
		r.t.Errorf("%d warnings, want those about %v:\n%s", n, want, log)
	}
	for _, w := range want {
		if !strings.Contains(log, w) {
			r.t.Errorf("no %q in %s", w, log)
		}
	}
}

// A ServiceCIDR that overlaps a network of the host is not enforced. One warning names both. It
// is enforced again some time after the overlap ends.
func TestServiceCIDROverlapsNetworks(t *testing.T) {
	play(t, func(s *stage) {
		r := ranged{s}
		r.put(&cluster.ServiceCIDR{Name: "kubernetes", CIDRs: []netip.Prefix{prefix("10.96.0.0/12"), prefix("fd00:96::/112")}})
		r.machine.networks = nil
		r.store.MarkSynced()
		r.start()
		r.says(r.has("nothing overlaps", "[10.96.0.0/12 fd00:96::/112]", 1))
		if got := r.metric("signpost_service_cidrs_not_enforced"); got != 0 {
			t.Errorf("%v are not enforced", got)
		}
		r.machine.connect("10.110.158.0/24", "192.168.0.0/24", "+10.96.0.0/12")
		r.says(r.has("the node is in it", "[fd00:96::/112]", 2), `serviceCIDR=10.96.0.0/12`, `overlaps="connected network 10.110.158.0/24"`)
		if got := r.metric("signpost_service_cidrs_not_enforced"); got != 1 {
			t.Errorf("%v are not enforced", got)
		}
		r.machine.connect("10.110.158.0/24")
		r.says(r.has("still", "[fd00:96::/112]", 2))
		r.machine.connect("10.111.0.0/16")
		r.says(r.has("another network", "[fd00:96::/112]", 2), `overlaps="connected network 10.111.0.0/16"`)
		r.machine.connect("192.168.0.0/24")
		r.says(r.has("no more", "[fd00:96::/112]", 2))
		r.pass(enforceAfter - time.Minute)
		r.has("not yet", "[fd00:96::/112]", 2)
		r.machine.connect("10.111.0.0/16")
		r.has("it came back", "[fd00:96::/112]", 2)
		r.machine.connect()
		r.pass(enforceAfter + time.Minute)
		if log := r.has("long enough", "[10.96.0.0/12 fd00:96::/112]", 3); !strings.Contains(log, "no longer overlaps") {
			t.Errorf("log %s", log)
		}
		r.put(&cluster.Node{Name: "node-1", Addrs: []netip.Addr{netip.MustParseAddr("10.100.0.1")}, PodCIDRs: []netip.Prefix{prefix("10.97.0.0/24")}})
		r.says(r.has("the Node's pod network", "[fd00:96::/112]", 4), `overlaps="pod network 10.97.0.0/24"`)
		r.put(&cluster.Node{Name: "node-1", Addrs: []netip.Addr{netip.MustParseAddr("10.100.0.1")}})
		r.says(r.has("the Node's address", "[fd00:96::/112]", 4), `overlaps="node address 10.100.0.1"`)
		r.del(cluster.Ref{Kind: cluster.KindServiceCIDR, Key: cluster.Key{Name: "kubernetes"}})
		r.says(r.has("no ranges", "[]", 5))
	})
}

// An endpoint in a ServiceCIDR counts, at the cost of its Service. Who makes and removes one at
// will causes one write and one line.
func TestServiceCIDROverlapsEndpoints(t *testing.T) {
	play(t, func(s *stage) {
		r := ranged{s}
		web, other := service("web", "10.96.0.1"), service("other", "10.96.0.2")
		r.put(web, slice(web, "10.244.1.2"), other, slice(other, "10.244.1.3"),
			&cluster.ServiceCIDR{Name: "kubernetes", CIDRs: []netip.Prefix{prefix("10.96.0.0/12")}})
		r.store.MarkSynced()
		r.start()
		r.says(r.has("nothing overlaps", "[10.96.0.0/12]", 1))
		clear(r.builds)
		r.put(slice(web, "10.244.1.2", "10.110.158.12"))
		r.says(r.has("an endpoint is in it", "[]", 2), "serviceCIDR=10.96.0.0/12", `overlaps="endpoint 10.110.158.12"`, "service=default/web")
		r.checkKernel()
		for range 10 {
			r.put(slice(web, "10.244.1.2"))
			r.pass(time.Second)
			r.put(slice(web, "10.110.158.13"))
			r.pass(time.Second)
		}
		r.says(r.has("it comes and goes", "[]", 2))
		if r.builds["other"] > 0 {
			t.Errorf("built %v", r.builds)
		}
		r.put(slice(other, "10.110.158.14"))
		r.del(ref("web"))
		r.pass(2 * enforceAfter)
		r.says(r.has("another Service has one", "[]", 2))
		r.del(ref("other"))
		r.pass(2 * enforceAfter)
		r.has("none has", "[10.96.0.0/12]", 3)
	})
}

// A mode that drops nothing has nothing to enforce, and says nothing.
func TestServiceCIDRsWhereNothingIsDropped(t *testing.T) {
	play(t, func(s *stage) {
		s.agent.DropsUnused = false
		r := ranged{s}
		web := service("web", "10.96.0.1")
		r.put(web, slice(web, "10.110.158.12"), &cluster.ServiceCIDR{Name: "kubernetes", CIDRs: []netip.Prefix{prefix("10.96.0.0/12")}})
		r.store.MarkSynced()
		r.start()
		r.machine.connect("10.110.158.0/24")
		r.says(r.has("mode iptables", "[]", 1))
	})
}
