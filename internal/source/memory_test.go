package source

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// The budgets of DESIGN §3, in resident bytes with everything that the index
// needs. CoreDNS's in-tree plugin takes 1,136 for a Service, 1,202 for a slice of
// one endpoint, 527 for an endpoint of a slice with 100, and 1,029 for a pod.
const (
	budgetService  = 400
	budgetEndpoint = 200
	budgetSlice    = 500 // with one endpoint
	budgetPod      = 400
)

// object decodes what a server would send, so that no string is a constant of the test.
func object(format string, args ...any) any {
	o, _, err := Decode(fmt.Appendf(nil, format, args...))
	if err != nil {
		panic(err)
	}
	return o
}

func apiService(i int) *corev1.Service {
	return object(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"service-%05d","namespace":"team-%02d","resourceVersion":"%d",
		"annotations":{"note":"%01000d"}},"spec":{"clusterIP":"10.%d.%d.%d","ports":[{"name":"http","port":80}]}}`,
		i, i%50, i, i, 96+i>>16, i>>8&255, i&255).(*corev1.Service)
}

func apiSlice(service, endpoints int) *discoveryv1.EndpointSlice {
	s := object(`{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"service-%05d-x7bfk","namespace":"team-%02d",
		"labels":{"kubernetes.io/service-name":"service-%05d"}},"addressType":"IPv4","ports":[{"name":"http","port":8080}]}`,
		service, service%50, service).(*discoveryv1.EndpointSlice)
	for i := range endpoints {
		n := service*endpoints + i
		node, zone := fmt.Sprintf("node-%d", n%100), fmt.Sprintf("zone-%d", n%3)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 128+n>>16, n>>8&255, n&255)}, NodeName: &node, Zone: &zone,
		})
	}
	return s
}

// resident is how many bytes of the heap a Store with the converted objects holds.
func resident(t testing.TB, n int, make func(i int) []any) float64 {
	heap := func() uint64 {
		for range 3 {
			runtime.GC()
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	store := cluster.NewStore()
	for i := range n {
		for _, obj := range make(i) {
			o, problems := Convert(obj, Options{})
			if problems != nil {
				t.Fatal(problems)
			}
			store.Put(0, o)
		}
	}
	after := heap()
	runtime.KeepAlive(store)
	return float64(after) - float64(before)
}

// TestMemory keeps the budget for what Convert makes out of decoded objects.
func TestMemory(t *testing.T) {
	for _, c := range []struct {
		name   string
		n, per int
		budget float64
		make   func(i int) []any
	}{
		{"Service", 10_000, 1, budgetService, func(i int) []any { return []any{apiService(i)} }},
		{"endpoint of Services with 100", 200, 100, budgetEndpoint, func(i int) []any {
			return []any{apiService(i), apiSlice(i, 100)}
		}},
		{"slice with one endpoint", 10_000, 1, budgetSlice, func(i int) []any { return []any{apiSlice(i, 1)} }},
		{"Service and slice with one endpoint", 10_000, 1, budgetService + budgetSlice, func(i int) []any {
			return []any{apiService(i), apiSlice(i, 1)}
		}},
		{"Pod", 10_000, 1, budgetPod, func(i int) []any {
			return []any{&corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("team-%d", i%50), Name: fmt.Sprintf("web-6d4cf56db6-%05d", i), Labels: map[string]string{"app": "web"}},
				Status:     corev1.PodStatus{PodIP: fmt.Sprintf("10.1.%d.%d", i>>8, i&255)},
			}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			per := resident(t, c.n, c.make) / float64(c.n*c.per)
			t.Logf("%.0f B", per)
			if per > c.budget {
				t.Errorf("%.0f B, budget %.0f B", per, c.budget)
			}
		})
	}
}

func BenchmarkConvert(b *testing.B) {
	for _, c := range []struct {
		name string
		obj  any
	}{{"service", apiService(1)}, {"slice of 1", apiSlice(1, 1)}, {"slice of 100", apiSlice(1, 100)}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if o, _ := Convert(c.obj, Options{}); o == nil {
					b.Fatal("nothing")
				}
			}
		})
	}
}
