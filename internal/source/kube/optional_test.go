package kube

import (
	"slices"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/test/api"
)

func serviceCIDR(name string, cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

// A server from before there were ServiceCIDRs holds nothing up, and nobody is told of
// it; one that does not give them holds nothing up, and somebody is. When there are
// some, they are there.
func TestOptionalKind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status int
		logs   bool
	}{{"there is none", 404, false}, {"forbidden", 403, true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := api.New(t)
			server.Put(oneOfEach()...)
			server.Put(serviceCIDR("kubernetes", "10.96.0.0/12"))
			server.RefuseKind("servicecidrs", c.status)
			l := newLab(t, server, nil)
			l.synced()
			if n := l.store.Count(cluster.KindServiceCIDR); n != 0 {
				t.Errorf("%d ServiceCIDRs", n)
			}
			logs := slices.ContainsFunc(l.loud(), func(s string) bool {
				return strings.Contains(s, "servicecidrs") && strings.Contains(s, "want a ClusterRole")
			})
			if logs != c.logs {
				t.Errorf("a line: %v, want %v: %q", logs, c.logs, l.loud())
			}
			server.RefuseKind("servicecidrs", 0)
			l.until("there are some", func() bool { return len(l.store.ServiceCIDRs()) == 1 })
		})
	}
}

// What is not optional is waited for.
func TestKindThatIsNotOptional(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.RefuseKind("services", 404)
	l := newLab(t, server, nil)
	l.until("a line", func() bool {
		return slices.ContainsFunc(l.loud(), func(s string) bool { return strings.Contains(s, "watching services") })
	})
	if l.store.Synced() {
		t.Error("synced without Services")
	}
	server.RefuseKind("services", 0)
	l.synced()
}
