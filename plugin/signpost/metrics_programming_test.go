package signpost

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/test/api"
)

// latencies returns count and sum of the two histograms, by their short names and
// the kind of the Service.
func latencies(t *testing.T) map[string][2]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][2]float64{}
	for _, f := range families {
		short := map[string]string{
			"coredns_kubernetes_dns_programming_duration_seconds":   "endpoints",
			"coredns_signpost_service_programming_duration_seconds": "service",
		}[f.GetName()]
		if short == "" {
			continue
		}
		for _, m := range f.Metric {
			h := m.GetHistogram()
			got[short+" "+m.Label[0].GetValue()] = [2]float64{float64(h.GetSampleCount()), h.GetSampleSum()}
		}
	}
	return got
}

func TestProgrammingLatency(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	created := func(s *corev1.Service, at time.Time) *corev1.Service {
		s.CreationTimestamp = metav1.NewTime(at)
		return s
	}
	headless := func(name string, selector map[string]string) *corev1.Service {
		s := apiService(name, "None")
		s.Spec.Selector = selector
		return s
	}
	slice := func(service, manager, ip string, at time.Time) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}}}}
		s.Namespace, s.Name, s.CreationTimestamp = "ns", service+"-1", metav1.NewTime(at)
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: manager}
		if manager != "" {
			s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: at.Format(time.RFC3339Nano)}
		}
		return s
	}
	const controller = "endpointslice-controller.k8s.io"
	a := api.New(t)
	old := ago(24 * time.Hour)
	a.Put(created(apiService("web", "10.96.0.1"), old), slice("web", controller, "10.1.0.1", old),
		headless("db", map[string]string{"app": "db"}), headless("hand", nil))
	before := latencies(t)
	i := start(t, fmt.Sprintf(".:0 {\n signpost cluster.local {\n endpoint %s\n}\n}", a.URL))
	defer stop(t, i)
	lookup(t, i, "udp", "web.ns.svc.cluster.local.")
	eventually(t, "the watches", func() bool { return a.Watches() == 3 })

	a.Put(created(apiService("new", "10.96.0.2"), ago(2*time.Second)))
	ext := created(apiService("ext", ""), ago(4*time.Second))
	ext.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}
	a.Put(ext)
	a.Put(slice("web", controller, "10.1.0.2", ago(time.Second)))
	a.Put(slice("db", controller, "10.1.0.3", ago(3*time.Second)))
	a.Put(slice("hand", "", "10.1.0.4", ago(5*time.Second)))
	want := map[string]float64{
		"service cluster_ip": 2, "service external_name": 4,
		"endpoints cluster_ip": 1, "endpoints headless_with_selector": 3, "endpoints headless_without_selector": 5,
	}
	eventually(t, "every kind", func() bool {
		now := latencies(t)
		for name := range want {
			if now[name][0] == before[name][0] {
				return false
			}
		}
		return true
	})
	for name, after := range latencies(t) {
		count, sum := after[0]-before[name][0], after[1]-before[name][1]
		if seconds, ok := want[name]; !ok || count != 1 || sum < seconds || sum > seconds+20 {
			t.Errorf("%s: %v changes of %.3f s, want one of %v s", name, count, sum, seconds)
		}
	}
}

// Requests to the API are counted under the names of the peer, as its README and
// ours say, wherever the peer is compiled in.
func TestRequestMetricsOfThePeer(t *testing.T) {
	a := api.New(t)
	a.NoWatchList() // the peer's client does not time watches
	i := start(t, fmt.Sprintf(".:0 {\n signpost cluster.local {\n endpoint %s\n}\n}", a.URL))
	defer stop(t, i)
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	host := strings.TrimPrefix(a.URL, "http://")
	missing := map[string]bool{
		"coredns_kubernetes_rest_client_requests_total": true, "coredns_kubernetes_rest_client_request_duration_seconds": true,
		"coredns_kubernetes_rest_client_rate_limiter_duration_seconds": true,
	}
	for _, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "host" && l.GetValue() == host {
					delete(missing, f.GetName())
				}
			}
		}
	}
	if len(missing) > 0 {
		t.Errorf("no series of %v with host %s", missing, host)
	}
}

// A clock that is behind does not make a sum go down.
func TestProgrammingLatencyInTheFuture(t *testing.T) {
	before := latencies(t)["service cluster_ip"]
	observeProgrammed(cluster.KindService, &cluster.Service{}, false, false, -time.Hour)
	if after := latencies(t)["service cluster_ip"]; after[0] != before[0]+1 || after[1] != before[1] {
		t.Errorf("%v became %v", before, after)
	}
}
