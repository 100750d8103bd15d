package vip

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// benchEntry is a Service with a ClusterIP, a load balancer and a NodePort in both
// families and n endpoints in slices of 100.
func benchEntry(n int) *cluster.Entry {
	var list []*cluster.Slice
	for at := 0; at < n; at += 100 {
		var eps []cluster.Endpoint
		for i := at; i < min(at+100, n); i++ {
			eps = append(eps, ep(netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}).String(), fmt.Sprintf("node-%d", i%50), ready))
		}
		list = append(list, sliceOf(fmt.Sprintf("web-%d", at), http8080, eps...))
	}
	return entry(func(s *cluster.Service) {
		s.Type, s.ExternalLocal = cluster.LoadBalancer, true
		s.Ports[0].NodePort = 30009
		s.External = &cluster.External{LB: addrs("198.51.100.1"), Policy: cluster.Policy{Sources: prefixes("203.0.113.0/24,10.0.0.0/8")}}
	}, list...)
}

// What one change of a Service costs before the dataplane: it grows with its endpoints
// and with nothing else.
func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{2, 100, 1000} {
		e := benchEntry(n)
		b.Run(fmt.Sprintf("endpoints=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if len(Build(e, detecting)) == 0 {
					b.Fatal("no routes")
				}
			}
		})
	}
}

func BenchmarkSet(b *testing.B) {
	table := NewTable()
	for i := range 10_000 {
		f := Frontend{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80, cluster.TCP}
		name := fmt.Sprintf("s%05d", i)
		table.Set(cluster.Key{Namespace: "ns", Name: name}, []*Route{route(name, 0, f, "10.0.0.1:1")})
	}
	versions := [][]*Route{Build(benchEntry(2), detecting), Build(benchEntry(3), detecting)}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i++; len(table.Set(web, versions[i%2])) == 0 {
			b.Fatal("no change")
		}
	}
}

// A Service of many ports has the endpoints of one port sorted at a time. What Build returns is
// nearly all that it allocates.
func TestBuildAllocatesLittleBesideRoutes(t *testing.T) {
	const ports, endpoints = 50, 2000
	e := benchEntry(endpoints)
	svc := *e.Service
	svc.Type, svc.External, svc.Ports = cluster.ClusterIP, nil, nil
	for i := range ports {
		svc.Ports = append(svc.Ports, cluster.ServicePort{Name: "http", Number: uint16(1000 + i), Protocol: cluster.TCP})
	}
	e.Service = &svc
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	routes := Build(e, detecting)
	runtime.ReadMemStats(&after)
	backends := 0
	for _, r := range routes {
		backends += cap(r.Cluster) + cap(r.Local)
	}
	if backends < ports*endpoints {
		t.Fatalf("%d backends, want at least %d", backends, ports*endpoints)
	}
	got, want := int(after.TotalAlloc-before.TotalAlloc), backends*int(unsafe.Sizeof(Backend{}))
	t.Logf("%d B allocated, %d B of it for backends", got, want)
	if most := want + want/5; got > most {
		t.Errorf("%d B allocated, want at most %d", got, most)
	}
}
