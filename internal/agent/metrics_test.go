package agent

import (
	"errors"
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

// names are those of a mode.
var names = dataplane.Metrics{Failures: "kubeproxy_sync_proxy_rules_nftables_sync_failures_total"}

// checkPending compares the changes that are seen and not in the kernel.
func (s *stage) checkPending(services, endpoints float64) {
	s.t.Helper()
	gotServices := s.metric("kubeproxy_sync_proxy_rules_service_changes_pending")
	gotEndpoints := s.metric("kubeproxy_sync_proxy_rules_endpoint_changes_pending")
	if gotServices != services || gotEndpoints != endpoints {
		s.t.Errorf("changes of %v Services and %v EndpointSlices are pending, want %v and %v", gotServices, gotEndpoints, services, endpoints)
	}
}

// A change is pending until the kernel has it.
func TestPendingChanges(t *testing.T) {
	play(t, func(s *stage) {
		web := service("web", "10.96.0.20")
		s.put(web, slice(web, "10.244.1.9"))
		s.start()
		s.checkPending(1, 1) // the first list is not complete
		s.store.MarkSynced()
		s.pass(syncPoll)
		s.checkPending(0, 0)

		s.rig(func(k *kernel) { k.fail = func() error { return errors.New("refused") } })
		s.put(slice(web, "10.244.1.8"))
		s.pass(retryFirst)
		s.checkPending(0, 1)
		s.del(ref("web"))
		s.pass(retryFirst)
		s.checkPending(1, 1)
		s.rig(func(k *kernel) { k.fail = nil })
		s.pass(retryLast)
		s.checkPending(0, 0)
		if n := s.metric("kubeproxy_sync_proxy_rules_service_changes_total"); n != 2 {
			t.Errorf("%v changes of Services, want 2", n)
		}
		if n := s.metric("kubeproxy_sync_proxy_rules_endpoint_changes_total"); n != 2 {
			t.Errorf("%v changes of EndpointSlices, want 2", n)
		}
	})
}
