package kube

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/test/api"
)

// One pod and one Node are asked for by what people know of them.
func TestAsk(t *testing.T) {
	server := api.New(t)
	pod := func(name, ip string, phase corev1.PodPhase) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: corev1.PodStatus{Phase: phase, PodIP: ip}}
	}
	node := func(name, ip string) *corev1.Node {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}}}
	}
	server.Put(pod("web-1", "10.244.1.2", corev1.PodRunning), pod("web-2", "10.244.1.3", corev1.PodSucceeded), pod("web-3", "", corev1.PodPending),
		node("n1", "192.0.2.1"), node("n2", "192.0.2.2"))
	rc := &rest.Config{Host: server.URL}
	for _, c := range []struct{ name, wrong string }{
		{"web-1", ""},
		{"web-2", "get pod shop/web-2: it has ended or has no address"},
		{"web-3", "get pod shop/web-3: it has ended or has no address"},
		{"web-4", "get pod shop/web-4: it does not exist"},
	} {
		got, err := Pod(t.Context(), rc, cluster.Key{Namespace: "shop", Name: c.name})
		if c.wrong != "" {
			if err == nil || err.Error() != c.wrong {
				t.Errorf("%s: error %v, want %q", c.name, err, c.wrong)
			}
			continue
		}
		if err != nil || len(got.Addrs) != 1 || got.Addrs[0] != netip.MustParseAddr("10.244.1.2") {
			t.Errorf("%s: %v, %v, want 10.244.1.2", c.name, got, err)
		}
	}
	for address, want := range map[string]string{"192.0.2.2": "n2", "192.0.2.3": ""} {
		got, err := NodeAt(t.Context(), rc, netip.MustParseAddr(address))
		if err != nil || (got == nil) != (want == "") || got != nil && got.Name != want {
			t.Errorf("%s: %v, %v, want %q", address, got, err, want)
		}
	}
	server.Stop()
	if _, err := Pod(t.Context(), rc, cluster.Key{Namespace: "shop", Name: "web-1"}); err == nil || !strings.HasPrefix(err.Error(), "get pod shop/web-1: ") {
		t.Errorf("without an API: %v", err)
	}
	if _, err := NodeAt(t.Context(), rc, netip.MustParseAddr("192.0.2.2")); err == nil || !strings.HasPrefix(err.Error(), "list nodes: ") {
		t.Errorf("without an API: %v", err)
	}
}
