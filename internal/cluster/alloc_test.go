package cluster

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
)

// readings are the questions that answer queries. None may allocate.
func readings(s *Store) []struct {
	name string
	read func() bool
} {
	var (
		clusterIP = netip.MustParseAddr("10.96.0.1")
		ready     = netip.MustParseAddr("10.0.0.1")
		ready6    = netip.MustParseAddr("fd00::1")
		absent    = netip.MustParseAddr("192.0.2.1")
		prefix    = netip.MustParsePrefix("10.96.0.0/16")
		prefix6   = netip.MustParsePrefix("fd00::/16")
		nowhere   = netip.MustParsePrefix("192.0.2.0/24")
		web       = s.Service("default", "web")
	)
	return []struct {
		name string
		read func() bool
	}{
		{"Service", func() bool { return s.Service("default", "web") != nil }},
		{"Service that is not there", func() bool { return s.Service("default", "absent") == nil }},
		{"Service that was deleted", func() bool { return s.Service("default", "gone") == nil }},
		{"Service whose slices wait", func() bool { return s.Service("default", "early") == nil }},
		{"Namespace", func() bool { return s.Namespace("default") }},
		{"Namespace that is not there", func() bool { return !s.Namespace("absent") }},
		{"Node", func() bool { return s.Node("node-1") != nil }},
		{"PodAt", func() bool { return s.PodAt("default", ready) != nil }},
		{"PodAt in another namespace", func() bool { return s.PodAt("absent", ready) == nil }},
		{"Owners of a ClusterIP", func() bool { return s.Owners(clusterIP).Entry() == web }},
		{"Owners of an endpoint of several Services", func() bool {
			n := 0
			for o := s.Owners(ready); o.Valid(); o = o.Next() {
				if o.Entry().ReadyEndpoint(ready) != nil {
					n++
				}
			}
			return n == 2
		}},
		{"Owners of an IPv6 endpoint", func() bool { return s.Owners(ready6).Valid() }},
		{"Owners of nothing", func() bool { return !s.Owners(absent).Valid() }},
		{"HasAddressIn", func() bool { return s.HasAddressIn(prefix) }},
		{"HasAddressIn IPv6", func() bool { return s.HasAddressIn(prefix6) }},
		{"HasAddressIn nothing", func() bool { return !s.HasAddressIn(nowhere) }},
		{"Ready", func() bool { v4, v6 := web.Ready(); return v4 == 2 && v6 == 1 }},
		{"Size", func() bool { return web.Size() == 4 }},
		{"ReadyEndpoint", func() bool { return web.ReadyEndpoint(ready) != nil }},
		{"ReadyAt", func() bool {
			n := 0
			for range web.ReadyAt(ready) {
				n++
			}
			return n == 1
		}},
		{"HasReady", func() bool { return web.HasReady() && web.Repeated() == 0 }},
		{"ReadyEndpoint that is not there", func() bool { return web.ReadyEndpoint(absent) == nil }},
		{"Endpoints", func() bool {
			n := 0
			for ep, ports := range web.Endpoints() {
				if ep.Has(Ready) {
					n += len(ports)
				}
			}
			return n == 3
		}},
		{"Services", func() bool {
			n := 0
			for range s.Services() {
				n++
			}
			return n == 2
		}},
		{"Namespaces", func() bool {
			n := 0
			for range s.Namespaces() {
				n++
			}
			return n == 1
		}},
		{"Synced", func() bool { return s.Synced() }},
		{"Version", func() bool { return s.Version() == 7 }},
		{"Count", func() bool { return s.Count(KindService) == 2 }},
	}
}

func storeToRead() *Store {
	s := NewStore()
	s.Put(7,
		&Namespace{"default"}, &Node{Name: "node-1"}, &Pod{Key: key("default/web-0"), Addrs: addrs("10.0.0.1")},
		service("default/web", "10.96.0.1", "fd00:10:96::1"), service("default/web-headless"), service("default/gone"),
		slice("web-a", "default/web", 1, []uint16{80}, "10.0.0.1", "10.0.0.2", "10.0.0.3-"),
		slice("web-b", "default/web", 1, []uint16{80}, "fd00::1"),
		slice("web-headless-a", "default/web-headless", 1, []uint16{80}, "10.0.0.1"),
		slice("early-a", "default/early", 1, []uint16{80}, "10.0.0.1"))
	s.Delete(0, service("default/gone").Ref())
	s.MarkSynced()
	return s
}

func TestReadsDoNotAllocate(t *testing.T) {
	for _, r := range readings(storeToRead()) {
		t.Run(r.name, func(t *testing.T) {
			if !r.read() {
				t.Fatal("not the expected answer")
			}
			if n := testing.AllocsPerRun(100, func() { r.read() }); n != 0 {
				t.Errorf("%v allocations, want none", n)
			}
		})
	}
}

// bigService is a Store with one Service of n endpoints in slices of 100, and
// the two versions of its last slice, which differ in one endpoint. The other
// slices' addresses are dense, those of the last stand alone in their ranges, so
// that the nodes of the address index on their path are of one size for every n.
func bigService(n int) (s *Store, versions [2]*Slice) {
	const perSlice = 100
	s = NewStore()
	s.Put(0, service("default/big", "10.96.0.1"))
	svc, ports := key("default/big"), []Port{{"http", 8080, TCP}}
	for at := 0; at < n-perSlice; at += perSlice {
		list := make([]Endpoint, perSlice)
		for i := range list {
			list[i] = Endpoint{Addr: nth("10.1.0.0", at+i), Conditions: Ready | Serving}
		}
		s.Put(0, NewSlice(Key{"default", fmt.Sprintf("big-%04d", at/perSlice)}, svc, 1, ports, list))
	}
	for v := range versions {
		list := make([]Endpoint, perSlice)
		for i := range list {
			list[i] = Endpoint{Addr: nth("172.16.0.0", i), Conditions: Ready | Serving}
		}
		list[0].Addr = nth("172.17.0.0", v)
		versions[v] = NewSlice(Key{"default", "big-last"}, svc, uint64(2+v), ports, list)
	}
	s.Put(0, versions[0])
	return s, versions
}

// addClash puts two slices of one address into the Service of bigService.
func addClash(s *Store) {
	for _, name := range []string{"default/big-x", "default/big-y"} {
		s.Put(0, NewSlice(key(name), key("default/big"), 3, []Port{{"http", 8080, TCP}}, endpoints("10.0.0.1")))
	}
}

// TestPutCostsTheChange changes one endpoint in Services of different sizes: the
// allocations must be those of the change, and their bytes may grow by no more
// than the list of slices.
func TestPutCostsTheChange(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates for itself")
	}
	t.Run("apart", func(t *testing.T) { putCostsTheChange(t, false) })
	t.Run("while two slices list one address", func(t *testing.T) { putCostsTheChange(t, true) })
}

func putCostsTheChange(t *testing.T, clash bool) {
	const runs = 100
	type cost struct{ allocs, bytes float64 }
	costOf := func(n int) cost {
		s, versions := bigService(n)
		if clash {
			addClash(s)
		}
		if v4, _ := s.Service("default", "big").Ready(); v4 < n {
			t.Fatalf("%d ready endpoints, want %d", v4, n)
		}
		turn := 0
		put := func() { turn++; s.Put(0, versions[turn%2]) }
		put()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			put()
		}
		runtime.ReadMemStats(&after)
		return cost{
			float64(after.Mallocs-before.Mallocs) / runs,
			float64(after.TotalAlloc-before.TotalAlloc) / runs,
		}
	}
	small := costOf(100)
	t.Logf("100 endpoints: %.0f allocations, %.0f B", small.allocs, small.bytes)
	for _, n := range []int{1_000, 10_000} {
		big := costOf(n)
		t.Logf("%d endpoints: %.0f allocations, %.0f B", n, big.allocs, big.bytes)
		if big.allocs > small.allocs+5 {
			t.Errorf("%.0f allocations in a Service of %d endpoints, %.0f in one of 100", big.allocs, n, small.allocs)
		}
		// The list of slices is copied, grown, and in a clash settled and looked up.
		if most := small.bytes + float64(n/100*8*4) + 512; big.bytes > most {
			t.Errorf("%.0f B allocated in a Service of %d endpoints, want at most %.0f", big.bytes, n, most)
		}
	}
}

// TestPutByNameCostsTheSlice replaces all endpoints of one slice in Services of different sizes.
// A Store by name allocates for that slice alone, and for the list of slices.
func TestPutByNameCostsTheSlice(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates for itself")
	}
	const perSlice, runs = 1000, 20
	svc, ports := key("default/big"), []Port{{"http", 8080, TCP}}
	sliceFrom := func(name, base string, at int) *Slice {
		list := make([]Endpoint, perSlice)
		for i := range list {
			list[i] = Endpoint{Addr: nth(base, at+i), Conditions: Ready | Serving}
		}
		return NewSlice(Key{"default", name}, svc, 1, ports, list)
	}
	costOf := func(n int) (allocs, bytes float64) {
		s := NewStoreByName()
		s.Put(0, service("default/big", "10.96.0.1"))
		for at := 0; at < n-perSlice; at += perSlice {
			s.Put(0, sliceFrom(fmt.Sprintf("big-%05d", at), "10.1.0.0", at))
		}
		versions := [2]*Slice{sliceFrom("big-last", "172.16.0.0", 0), sliceFrom("big-last", "172.17.0.0", 0)}
		s.Put(0, versions[0])
		if v4, _ := s.Service("default", "big").Ready(); v4 != n {
			t.Fatalf("%d ready endpoints, want %d", v4, n)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range runs {
			s.Put(0, versions[(i+1)%2])
		}
		runtime.ReadMemStats(&after)
		return float64(after.Mallocs-before.Mallocs) / runs, float64(after.TotalAlloc-before.TotalAlloc) / runs
	}
	allocs, bytes := costOf(2 * perSlice)
	const large = 50 * perSlice
	moreAllocs, moreBytes := costOf(large)
	t.Logf("%d endpoints: %.0f allocations, %.0f B; %d: %.0f, %.0f B", 2*perSlice, allocs, bytes, large, moreAllocs, moreBytes)
	if most := bytes + large/perSlice*8*4 + 512; moreAllocs > allocs+5 || moreBytes > most {
		t.Errorf("%.0f allocations of %.0f B in a Service of %d endpoints, want at most %.0f of %.0f B", moreAllocs, moreBytes, large, allocs+5, most)
	}
}

// TestRelistOfTheSameCostsNoIndex lists anew what is there: the address index
// must stay the same, down to its pointer.
func TestRelistOfTheSameCostsNoIndex(t *testing.T) {
	objects := func() (services, slices []Object) {
		for i := range 20 {
			name := fmt.Sprintf("default/svc-%d", i)
			services = append(services, service(name, nth("10.96.0.0", i).String()))
			slices = append(slices, slice(fmt.Sprintf("svc-%d-x", i), name, 1, []uint16{80}, nth("10.1.0.0", i).String()))
		}
		return services, slices
	}
	s := NewStore()
	services, slices := objects()
	s.Replace(1, KindService, services)
	s.Replace(1, KindSlice, slices)
	before := s.byAddr.trie.Load()
	services, slices = objects()
	s.Replace(2, KindService, services)
	s.Replace(2, KindSlice, slices)
	if s.byAddr.trie.Load() != before {
		t.Error("the address index was written, and nothing changed in it")
	}
}
