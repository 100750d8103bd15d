package bench

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/test/api"
	"github.com/signpost-dns/signpost/test/peer"
)

// loads are clusters of many objects of one kind.
var loads = []struct {
	name    string
	n       int
	objects func(n int) []k8sruntime.Object
	options string
	most    float64 // goal: bytes each
}{
	{"service", 10_000, services, "", 400},
	{"endpoint", 50_000, func(n int) []k8sruntime.Object { return crowd("crowd", n) }, "", 200},
	{"pod", 20_000, pods, "pods verified", 200},
}

// BenchmarkMemory is what stays on the heap for each object once the plugin is synced.
func BenchmarkMemory(b *testing.B) {
	for _, load := range loads {
		each := map[string]float64{}
		for _, plugin := range plugins {
			b.Run(load.name+"/plugin="+plugin, func(b *testing.B) {
				live := func(n int) int64 {
					s := api.New(b)
					s.Put(load.objects(n)...)
					s.Put(marker("first")...)
					u := startChild(b, plugin, s.URL, load.options).wait(b, markerName("first"))
					return u.Live - u.Empty
				}
				each[plugin] = float64(live(load.n)-live(0)) / float64(load.n)
				b.ReportMetric(each[plugin], "B/"+load.name)
				b.ReportMetric(0, "ns/op")
			})
		}
		if each[ours] > 0 {
			note(row{"memory of a " + load.name, "B", each[ours], each[theirs], load.most, 0})
		}
	}
}

// marker is a headless Service with one endpoint: who answers its name has listed
// Services, EndpointSlices and Namespaces.
func marker(name string) []k8sruntime.Object {
	return append([]k8sruntime.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns"}},
		peer.Service("ns", name, peer.HTTP, "None"),
	}, endpointSlices(name, 1_000_000, 1, 1)...)
}

func markerName(name string) string { return name + ".ns.svc.cluster.local." }

// The large cluster: what a start costs, and a list of everything once more.
const bigServices, bigEndpoints = 10_000, 15

// BenchmarkLargeCluster lists 10,000 Services with 150,000 endpoints, twice: at the
// start, and after the API forgot its history. What gets DNS servers killed is
// the most memory at a time.
func BenchmarkLargeCluster(b *testing.B) {
	objects := big(bigServices, bigEndpoints)
	first, again := map[string]usage{}, map[string]usage{}
	for _, plugin := range plugins {
		b.Run("plugin="+plugin, func(b *testing.B) {
			s := api.New(b)
			s.Put(objects...)
			s.Put(marker("first")...)
			c := startChild(b, plugin, s.URL, "")
			first[plugin] = c.wait(b, markerName("first"))
			s.Stop()
			s.Put(marker("second")...)
			s.Expire()
			s.Start()
			again[plugin] = c.wait(b, markerName("second"))
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(first[plugin].Ready.Seconds(), "s-to-ready")
			for name, u := range map[string]usage{"list": first[plugin], "relist": again[plugin]} {
				b.ReportMetric(float64(u.PeakRSS)/1e6, name+"-peak-MB")
				b.ReportMetric(float64(u.RSS)/1e6, name+"-resident-MB")
				b.ReportMetric(float64(u.PeakHeap)/1e6, name+"-peak-heap-MB")
				b.ReportMetric(float64(u.Live)/1e6, name+"-live-heap-MB")
			}
		})
	}
	if first[ours].Ready == 0 {
		return
	}
	note(row{"10k Services, 150k endpoints: start to ready", "s", first[ours].Ready.Seconds(), first[theirs].Ready.Seconds(), 0, 2})
	note(row{"processor time of that", "s", first[ours].CPU.Seconds(), first[theirs].CPU.Seconds(), 0, 0})
	for _, l := range []struct {
		name string
		of   map[string]usage
	}{{"list", first}, {"relist", again}} {
		o, p := l.of[ours], l.of[theirs]
		note(row{l.name + ": live heap after it", "MB", float64(o.Live) / 1e6, float64(p.Live) / 1e6, 0, 0})
		note(row{l.name + ": peak heap", "MB", float64(o.PeakHeap) / 1e6, float64(p.PeakHeap) / 1e6, 0, 3})
		note(row{l.name + ": resident after it", "MB", float64(o.RSS) / 1e6, float64(p.RSS) / 1e6, 0, 0})
		note(row{l.name + ": peak resident", "MB", float64(o.PeakRSS) / 1e6, float64(p.PeakRSS) / 1e6, 1.5 * float64(o.RSS) / 1e6, 3})
	}
}
