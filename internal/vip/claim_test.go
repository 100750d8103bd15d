package vip

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// manyEndpoints are slices of 1,000 endpoints each.
func manyEndpoints(n int) (list []*cluster.Slice) {
	for at := 0; at < n; at += 1000 {
		var eps []cluster.Endpoint
		for i := at; i < min(at+1000, n); i++ {
			eps = append(eps, ep(numberedPod(i).String(), "n2", ready))
		}
		list = append(list, sliceOf("web-"+numberedPod(at).String(), http8080, eps...))
	}
	return list
}

func numberedPod(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// A Service with more endpoints than a frontend can have keeps the first of them.
func TestTheFirstBackendsOfALargerService(t *testing.T) {
	for _, affinity := range []uint32{0, 60} {
		e := entry(func(s *cluster.Service) {
			s.External = &cluster.External{Policy: cluster.Policy{Affinity: affinity}}
		})
		e = &cluster.Entry{Service: e.Service, Slices: manyEndpoints(70_000)} // past the Store, which indexes each address
		most := MaxBackends
		if affinity != 0 {
			most--
		}
		got := find(t, Build(e, detecting), "10.96.0.1", 80).Cluster
		if len(got) != most || got[0].Addr() != numberedPod(0) || got[most-1].Addr() != numberedPod(most-1) {
			t.Errorf("affinity %d: got %d backends, from %v to %v, want the first %d", affinity, len(got), got[0], got[len(got)-1], most)
		}
		want := Claim{Room{1, most}, Room{0, 70_000 - most}}
		if claim := ClaimOf(e); claim != want {
			t.Errorf("claim: got %v, want %v", claim, want)
		}
	}
}

// A Service with more frontends than a Service can have keeps the first of them.
func TestTheFirstFrontendsOfALargerService(t *testing.T) {
	e := entry(func(s *cluster.Service) {
		s.External = &cluster.External{}
		for i := range 150 {
			s.External.IPs = append(s.External.IPs, numberedPod(i))
		}
		s.Ports = nil
		for i := range 100 {
			s.Ports = append(s.Ports, cluster.ServicePort{Name: "http", Number: uint16(1 + i), Protocol: cluster.TCP})
		}
	}, sliceOf("web-1", http8080, ep("10.244.1.2", "n2", ready)))
	routes := Build(e, detecting)
	if len(routes) != MaxFrontends+1 { // and the rest of the ClusterIP
		t.Errorf("got %d routes, want %d", len(routes), MaxFrontends+1)
	}
	find(t, routes, "10.96.0.1", 66)
	if at := (Frontend{netip.MustParseAddr("10.96.0.1"), 80, cluster.TCP}); slices.ContainsFunc(routes, func(r *Route) bool { return r.Frontend == at }) {
		t.Errorf("%v has a route, want none of a later port", at)
	}
	want := Claim{Room{MaxFrontends, MaxFrontends}, Room{Frontends: 5_100}}
	if claim := ClaimOf(e); claim != want {
		t.Errorf("claim: got %v, want %v", claim, want)
	}
	if left := ClaimOf(e).Without(Room{6000, 3000}); left != (Room{9_100, 7_000}) {
		t.Errorf("left out: got %v, want 9,100 frontends and 7,000 backends", left)
	}
}

// A source range costs as much as a backend. A frontend whose ranges do not fit is left out.
func TestSourceRangesTakeRoom(t *testing.T) {
	e := entry(func(s *cluster.Service) {
		s.Type = cluster.LoadBalancer
		s.External = &cluster.External{LB: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}}
		for i := range 100 {
			s.External.Sources = append(s.External.Sources, netip.PrefixFrom(numberedPod(2*i), 32))
		}
	}, sliceOf("web-1", http8080, ep("10.244.1.2", "n2", ready)))
	claim := ClaimOf(e)
	if want := 1 + 2*(102+1); claim.Backends != want {
		t.Errorf("claim: got %d, want %d", claim.Backends, want)
	}
	routes := BuildWithin(e, detecting, Room{Frontends: 10, Backends: claim.Backends - 2})
	if r := find(t, routes, "192.0.2.1", 80); len(r.Sources) != 100 {
		t.Errorf("got %d ranges at the first address, want 100", len(r.Sources))
	}
	at := Frontend{netip.MustParseAddr("192.0.2.2"), 80, cluster.TCP}
	if slices.ContainsFunc(routes, func(r *Route) bool { return r.Frontend == at }) {
		t.Errorf("%v has a route, want none without room for its source ranges", at)
	}
}

// What a Service asks for in vain takes room as well, so that looking at it ends.
func TestRefusedFrontendsTakeRoom(t *testing.T) {
	e := entry(func(s *cluster.Service) {
		s.External = &cluster.External{}
		for i := range 256 {
			s.External.IPs = append(s.External.IPs, numberedPod(i))
		}
		s.Ports = nil
		for i := range 1024 {
			s.Ports = append(s.Ports, cluster.ServicePort{Name: "http", Number: uint16(1 + i), Protocol: cluster.TCP})
		}
	}, sliceOf("web-1", http8080, ep("10.244.1.2", "n2", ready)))
	n := detecting
	n.Guard = Guard{ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}}
	if got, want := len(Build(e, n)), 1+(MaxFrontends+256)/257; got != want {
		t.Errorf("got %d routes, want %d: the ClusterIP's of the first ports", got, want)
	}
	if got := len(Refused(e, n)); got != 256 {
		t.Errorf("got %d refusals, want one of each address", got)
	}
}

func find(t *testing.T, routes []*Route, addr string, port uint16) *Route {
	t.Helper()
	at := Frontend{netip.MustParseAddr(addr), port, cluster.TCP}
	i := slices.IndexFunc(routes, func(r *Route) bool { return r.Frontend == at })
	if i < 0 {
		t.Fatalf("%v has no route", at)
	}
	return routes[i]
}

// Whatever a Service is like, it has no more than its room, and all of it if that holds its claim.
func TestRoomIsNeverExceeded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := randomService(t)
		store := cluster.NewStore()
		store.Put(1, s)
		for version := range uint64(rapid.IntRange(0, 3).Draw(t, "slices")) {
			raw := randomSlice(t, version+1)
			store.Put(version+1, cluster.NewSlice(cluster.Key{Namespace: "ns", Name: raw.name}, s.Key, raw.version, raw.ports, slices.Clone(raw.list)))
		}
		e, claim := store.Service(s.Namespace, s.Name), ClaimOf(store.Service(s.Namespace, s.Name)).Room
		n, _ := randomNode(t)
		room := Room{rapid.IntRange(0, 8).Draw(t, "frontends"), rapid.IntRange(0, 20).Draw(t, "backends")}
		all, some := Build(e, n), BuildWithin(e, n, room)
		if got := roomOf(some); got.Frontends > room.Frontends || got.Backends > room.Backends {
			t.Fatalf("got %v in a room of %v", got, room)
		}
		if got := roomOf(all); got.Frontends > claim.Frontends || got.Backends > claim.Backends {
			t.Fatalf("got %v with a claim of %v", got, claim)
		}
		if within := BuildWithin(e, n, claim); !slices.EqualFunc(all, within, (*Route).equal) {
			t.Fatalf("a room as large as the claim changes routes:\n%v\n%v", all, within)
		}
		for _, r := range some {
			for c := range Classes {
				if d := r.Policy.Of(c); d.Action == Forward && len(r.Backends(d.Set)) == 0 {
					t.Fatalf("%v forwards %v to no backends", r, c)
				}
			}
		}
	})
}

func roomOf(routes []*Route) (have Room) {
	for _, r := range routes {
		if r.Kind != OtherPorts && r.Kind != HealthCheck {
			have.Frontends++
			have.Backends += len(r.Cluster) + len(r.Local) + len(r.Sources)
		}
	}
	return have
}
