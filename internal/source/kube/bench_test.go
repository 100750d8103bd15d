package kube

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// BenchmarkSliceEvent is one update of a slice that replaces one of its
// endpoints: with the held address, two writes. It should not depend on how many
// Services there are.
func BenchmarkSliceEvent(b *testing.B) {
	for _, services := range []int{100, 10_000} {
		for _, endpoints := range []int{5, 100} {
			b.Run(fmt.Sprintf("%d services/%d endpoints", services, endpoints), func(b *testing.B) {
				store := cluster.NewStore()
				quiet := func(string, string, ...any) {}
				s := newSink(cluster.KindSlice, store, source.Options{}, newReports(func(source.Problem) {}), &health{kind: cluster.KindSlice, logf: quiet}, newRestores(store, quiet), func() {})
				for i := range services {
					key := cluster.Key{Namespace: "default", Name: "other" + strconv.Itoa(i)}
					store.Put(1, &cluster.Service{Key: key})
				}
				store.Put(1, &cluster.Service{Key: web})
				versions := [2]*discoveryv1.EndpointSlice{apiSlice("web-1", "2"), apiSlice("web-1", "3")}
				for v := range versions {
					for i := range endpoints {
						n := i
						if i == 0 {
							n = 200 + v
						}
						versions[v].Endpoints = append(versions[v].Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.1.0.%d", n)}})
					}
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if err := s.Update(versions[i%2]); err != nil {
						b.Fatal(err)
					}
					s.letGo(time.Now().Add(holdback))
				}
			})
		}
	}
}
