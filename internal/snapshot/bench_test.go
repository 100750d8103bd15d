package snapshot

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// metropolis is a large cluster: services with one slice of endpoints each, and
// their pods.
func metropolis(services, endpoints int) []cluster.Object {
	var objects []cluster.Object
	addr := netip.MustParseAddr("10.0.0.0")
	next := func() netip.Addr { addr = addr.Next(); return addr }
	for i := range services {
		key := cluster.Key{Namespace: fmt.Sprintf("namespace-%d", i%100), Name: fmt.Sprintf("service-%05d", i)}
		objects = append(objects, &cluster.Service{
			Key: key, ClusterIPs: []netip.Addr{next()},
			Ports: []cluster.ServicePort{{Name: "http", Number: 80, Protocol: cluster.TCP}},
		})
		list := make([]cluster.Endpoint, endpoints/services)
		for j := range list {
			list[j] = cluster.Endpoint{
				Addr: next(), Node: cluster.MakeAtom(fmt.Sprintf("node-%d", j%1000)), Zone: cluster.MakeAtom(fmt.Sprintf("zone-%d", j%3)),
				Conditions: cluster.Ready | cluster.Serving,
			}
		}
		ports := []cluster.Port{{Name: "http", Number: 8080, Protocol: cluster.TCP}}
		objects = append(objects, cluster.NewSlice(cluster.Key{Namespace: key.Namespace, Name: key.Name + "-abcde"}, key, uint64(i), ports, list))
	}
	return objects
}

// BenchmarkMetropolis is one snapshot of 10,000 Services with 250,000 endpoints.
func BenchmarkMetropolis(b *testing.B) {
	store := filled(1, metropolis(10_000, 250_000)...)
	k := newStage(b.TempDir(), store, nil)
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if k.write(noon); k.Status().Err != nil {
				b.Fatal(k.Status().Err)
			}
		}
		b.ReportMetric(float64(k.Status().Size)/1e6, "MB/file")
	})
	b.Run("restore", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if k := newStage(k.options.Dir, cluster.NewStore(), nil); !k.Restore() {
				b.Fatal(k.lines)
			}
		}
	})
}
