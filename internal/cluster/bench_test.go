package cluster

import (
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkRead times every question of TestReadsDoNotAllocate.
func BenchmarkRead(b *testing.B) {
	for _, r := range readings(storeToRead()) {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !r.read() {
					b.Fatal("not the expected answer")
				}
			}
		})
	}
}

// BenchmarkOwners walks the owners of addresses in an index of 10,000 Services
// with 5 endpoints each.
func BenchmarkOwners(b *testing.B) {
	const n = 10_000
	services, endpointSlices := load(n, 5)
	s := NewStore()
	s.Replace(1, KindService, services)
	s.Replace(1, KindSlice, endpointSlices)
	for _, c := range []struct {
		name   string
		addr   func(i int) netip.Addr
		owners int
	}{
		{"clusterIP", func(i int) netip.Addr { return services[i*7919%n].(*Service).ClusterIPs[0] }, 1},
		{"endpoint", func(i int) netip.Addr { return endpointSlices[i*7919%n].(*Slice).Endpoints[0].Addr }, 1},
		{"miss", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, byte(i >> 8), byte(i)}) }, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				found := 0
				for o := s.Owners(c.addr(i)); o.Valid(); o = o.Next() {
					if o.Entry() != nil {
						found++
					}
				}
				if found != c.owners {
					b.Fatalf("%d owners, want %d", found, c.owners)
				}
			}
		})
	}
}

// BenchmarkPutSlice replaces a slice of 100 endpoints, of which one changed, in
// Services of growing size; "clash": while two other slices list one address.
func BenchmarkPutSlice(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		for _, clash := range []bool{false, true} {
			name := fmt.Sprint(n)
			if clash {
				name += "/clash"
			}
			b.Run(name, func(b *testing.B) {
				s, versions := bigService(n)
				if clash {
					addClash(s)
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					s.Put(0, versions[(i+1)%2])
				}
			})
		}
	}
}

// load makes the objects of n Services with each a ClusterIP and one slice.
func load(n, endpointsEach int) (services, endpointSlices []Object) {
	ports := []Port{{"http", 8080, TCP}}
	for i := range n {
		k := Key{fmt.Sprintf("namespace-%d", i%100), fmt.Sprintf("service-%04d", i)}
		services = append(services, &Service{
			Key:        k,
			ClusterIPs: []netip.Addr{scattered("10.96.0.0", i)},
			Ports:      []ServicePort{{Name: "http", Number: 80, Protocol: TCP}},
		})
		list := make([]Endpoint, endpointsEach)
		for j := range list {
			list[j] = Endpoint{Addr: nth("10.244.0.0", i*endpointsEach+j), Conditions: Ready | Serving}
		}
		endpointSlices = append(endpointSlices, NewSlice(Key{k.Namespace, k.Name + "-x"}, k, uint64(i), ports, list))
	}
	return services, endpointSlices
}

// BenchmarkLoad fills an empty Store with 10,000 Services of 5 endpoints: as two
// lists, as events one by one, and the same lists once more.
func BenchmarkLoad(b *testing.B) {
	const n, each = 10_000, 5
	services, endpointSlices := load(n, each)
	lists := func(s *Store) {
		s.Replace(1, KindService, services)
		s.Replace(1, KindSlice, endpointSlices)
	}
	full := NewStore()
	lists(full)
	for _, c := range []struct {
		name string
		fill func() *Store
	}{
		{"lists", func() *Store { s := NewStore(); lists(s); return s }},
		{"slices before services", func() *Store {
			s := NewStore()
			s.Replace(1, KindSlice, endpointSlices)
			s.Replace(1, KindService, services)
			return s
		}},
		{"events", func() *Store {
			s := NewStore()
			for i := range services {
				s.Put(1, services[i])
				s.Put(1, endpointSlices[i])
			}
			return s
		}},
		{"relist", func() *Store { lists(full); return full }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s := c.fill(); s.Count(KindService) != n {
					b.Fatalf("%d Services", s.Count(KindService))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(n*each), "ns/endpoint")
		})
	}
}

// BenchmarkLoadOneService fills one Service with slices of 100 endpoints.
func BenchmarkLoadOneService(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 50_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bigService(n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/endpoint")
		})
	}
}

// BenchmarkTake takes one change, after a reader has taken many at its start: what a
// change costs must not grow with these.
func BenchmarkTake(b *testing.B) {
	for _, many := range []int{0, 1_000, 100_000} {
		b.Run(fmt.Sprint(many), func(b *testing.B) {
			sub := NewStore().Subscribe()
			for i := range many {
				sub.mark(Ref{KindService, Key{"default", fmt.Sprint("service-", i)}}, touches{services: 1})
			}
			sub.Take()
			b.ReportAllocs()
			for b.Loop() {
				sub.mark(Ref{KindService, Key{"default", "web"}}, touches{services: 1})
				sub.Take()
			}
		})
	}
}
