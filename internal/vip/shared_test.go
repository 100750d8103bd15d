package vip

import (
	"slices"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// TestEndpointsOfOneAddress: none is dropped silently, whatever goes before it. In
// every order of the slice the route leads to the ready pod, and is Local by its node.
func TestEndpointsOfOneAddress(t *testing.T) {
	pods := []cluster.Endpoint{
		ep("10.244.1.2", "n2", terminating), ep("10.244.1.2", "n1", ready), ep("10.244.1.2", "n3", 0),
		ep("10.244.1.3", "n1", ready|cluster.Additional), ep("10.244.1.3", "n2", 0),
	}
	want := []string{
		"10.244.1.2:8080 on this node, taken",
		"10.244.1.2:8080 on n3, not taken: another endpoint with its address goes before it, and it is not ready",
		"10.244.1.2:8080 on n2, not taken: another endpoint with its address goes before it, and it terminates",
		"10.244.1.3:8080 on n2, not taken: it is not ready",
		"10.244.1.3:8080 on this node, not taken: it is not the first address of its endpoint",
	}
	n := Node{Name: cluster.MakeAtom("n1"), Pods: detecting.Pods}
	for range len(pods) {
		pods = append(pods[1:], pods[0])
		e := entry(func(s *cluster.Service) {
			s.Type, s.ExternalLocal, s.External = cluster.LoadBalancer, true, &cluster.External{Policy: cluster.Policy{HealthCheckPort: 30500}}
		}, sliceOf("web-1", http8080, slices.Clone(pods)...))
		for _, r := range Build(e, n) {
			if r.Kind == HealthCheck && r.Healthy != 1 {
				t.Errorf("%v: %d healthy endpoints, want 1", pods, r.Healthy)
			}
			if r.Kind != ClusterIP {
				continue
			}
			if len(r.Cluster) != 1 || !r.Cluster[0].Local {
				t.Errorf("%v: route to %v", pods, r.Cluster)
			}
			if got := r.Endpoints(e, n, FromPod); !slices.Equal(got, want) {
				t.Errorf("%v:\n%q, want\n%q", pods, got, want)
			}
		}
	}
}

// TestMovedPod: of the slices that list a pod the newest is right.
func TestMovedPod(t *testing.T) {
	x := ep("10.244.1.2", "n1", ready)
	x.Pod = cluster.MakePodID("x")
	gone := x
	gone.Conditions = terminating
	store := cluster.NewStore()
	old, next := sliceOf("web-1", http8080, x), sliceOf("web-2", http8080, gone)
	old.Version, next.Version = 1, 2
	store.Put(2, entry(nil).Service, old, next)
	e := store.Service(web.Namespace, web.Name)
	n := Node{Name: cluster.MakeAtom("n1"), Pods: detecting.Pods}
	for _, r := range Build(e, n) {
		if r.Kind != ClusterIP {
			continue
		}
		want := []string{
			"10.244.1.2:8080 on this node, not taken: it terminates and does not serve",
			"10.244.1.2:8080 on this node, not taken: a newer EndpointSlice has its pod",
		}
		if got := r.Endpoints(e, n, FromPod); len(r.Cluster) > 0 || !slices.Equal(got, want) {
			t.Errorf("route to %v, %q, want\n%q", r.Cluster, got, want)
		}
	}
}
