package ipvs

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// numbered is the route of a ClusterIP with five backends, of which the first is the spare one if so wanted.
func numbered(n int, spare bool) *vip.Route {
	r := &vip.Route{Kind: vip.ClusterIP, Owner: vip.Owner{Service: cluster.Key{Namespace: "ns", Name: fmt.Sprint("s", n)}}}
	r.Addr, r.Port, r.Protocol = netip.AddrFrom4([4]byte{10, 96, byte(n >> 8), byte(n)}), 80, cluster.TCP
	for b := range 5 {
		last := byte(b + 1)
		if b == 0 && spare {
			last = 100
		}
		at := netip.AddrFrom4([4]byte{10, 128 + byte(n>>8), byte(n), last})
		r.Cluster = append(r.Cluster, vip.Backend{AddrPort: netip.AddrPortFrom(at, 8080)})
	}
	if spare {
		r.Cluster = append(r.Cluster[1:], r.Cluster[0]) // they are sorted
	}
	return r
}

// BenchmarkChange takes one backend of a Service away and puts another in its place, among many Services. The kernel
// that has IPVS is mostly emulated:
//
//	go test ./test/guest -run '^$' -bench IPVSChange
func BenchmarkChange(b *testing.B) {
	for _, services := range []int{1_000, 10_000} {
		b.Run(fmt.Sprint("services=", services), func(b *testing.B) {
			ownNetwork(b)
			table := vip.NewTable()
			for n := range services {
				r := numbered(n, false)
				table.Set(r.Owner.Service, []*vip.Route{r})
			}
			d := open(b, Options{})
			sync(b, d, testHost, table)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				r := numbered(services/2, i%2 == 0)
				if _, err := d.Apply(b.Context(), table.Set(r.Owner.Service, []*vip.Route{r})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
