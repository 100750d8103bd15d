package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// route makes a route of a Service that has existed since the given second.
func route(service string, created int64, f Frontend, backends ...string) *Route {
	r := &Route{Frontend: f, Created: created, Owner: Owner{Service: cluster.Key{Namespace: "ns", Name: service}}}
	for _, b := range backends {
		r.Cluster = append(r.Cluster, Backend{AddrPort: netip.MustParseAddrPort(b)})
	}
	return r
}

var shared = Frontend{netip.MustParseAddr("192.0.2.1"), 80, cluster.TCP}

// The oldest claim has the frontend; when it goes the next one gets it.
func TestClaims(t *testing.T) {
	key := func(name string) cluster.Key { return cluster.Key{Namespace: "ns", Name: name} }
	table := NewTable()
	steps := []struct {
		name   string
		set    string
		routes []*Route
		change string // old -> new owner; empty: none
		losers string
	}{
		{"the first", "young", []*Route{route("young", 20, shared)}, "- -> ns/young", "[]"},
		{"an older one takes it", "old", []*Route{route("old", 10, shared)}, "ns/young -> ns/old", "[ns/young]"},
		{"a younger one waits", "youngest", []*Route{route("youngest", 30, shared)}, "", "[ns/young ns/youngest]"},
		{"equal age: by name", "a", []*Route{route("a", 10, shared)}, "ns/old -> ns/a", "[ns/old ns/young ns/youngest]"},
		{"set again, the same", "a", []*Route{route("a", 10, shared)}, "", "[ns/old ns/young ns/youngest]"},
		{"a loser goes", "young", nil, "", "[ns/old ns/youngest]"},
		{"the winner goes", "a", nil, "ns/a -> ns/old", "[ns/youngest]"},
		{"the next too", "old", nil, "ns/old -> ns/youngest", "[]"},
		{"the last", "youngest", nil, "ns/youngest -> -", "[]"},
	}
	for _, s := range steps {
		got := ""
		for _, c := range table.Set(key(s.set), s.routes) {
			got += fmt.Sprintf("%s -> %s", owner(c.Old), owner(c.New))
		}
		if got != s.change {
			t.Errorf("%s: change %q, want %q", s.name, got, s.change)
		}
		if l := fmt.Sprint(table.Losers(shared)); l != s.losers {
			t.Errorf("%s: losers %s, want %s", s.name, l, s.losers)
		}
	}
	if table.Len() != 0 || len(table.byService) != 0 || len(table.claims) != 0 {
		t.Errorf("something is left: %v %v", table.byService, table.claims)
	}
}

// Between two Services kind decides before age, and in both orders of arrival. When the
// winner goes, the other gets the frontend.
func TestKindDecidesBeforeAge(t *testing.T) {
	node := Frontend{AnyNode4, 30000, cluster.TCP}
	for _, tt := range []struct {
		old, young Kind
		at         Frontend
		want       string
	}{
		{ClusterIP, ClusterIP, shared, "old"},
		{ClusterIP, LoadBalancer, shared, "old"},
		{ClusterIP, ExternalIP, shared, "old"},
		{LoadBalancer, ClusterIP, shared, "young"},
		{LoadBalancer, LoadBalancer, shared, "old"},
		{LoadBalancer, ExternalIP, shared, "old"},
		{ExternalIP, ClusterIP, shared, "young"},
		{ExternalIP, LoadBalancer, shared, "young"},
		{ExternalIP, ExternalIP, shared, "old"},
		{NodePort, NodePort, node, "old"},
		{NodePort, HealthCheck, node, "old"},
		{HealthCheck, NodePort, node, "old"},
		{HealthCheck, HealthCheck, node, "old"},
		{OtherPorts, OtherPorts, Frontend{Addr: shared.Addr}, "old"},
	} {
		for _, youngFirst := range []bool{false, true} {
			table := NewTable()
			set := map[string][]*Route{"old": {route("old", 1, tt.at)}, "young": {route("young", 2, tt.at)}}
			set["old"][0].Kind, set["young"][0].Kind = tt.old, tt.young
			names := []string{"old", "young"}
			if youngFirst {
				slices.Reverse(names)
			}
			for _, n := range names {
				table.Set(cluster.Key{Namespace: "ns", Name: n}, set[n])
			}
			if got := owner(table.Route(tt.at)); got != "ns/"+tt.want {
				t.Errorf("old %v, young %v, young first %v: %s has it, want %s", tt.old, tt.young, youngFirst, got, tt.want)
			}
			table.Set(cluster.Key{Namespace: "ns", Name: tt.want}, nil)
			if got := owner(table.Route(tt.at)); got == "ns/"+tt.want || got == "-" {
				t.Errorf("old %v, young %v: after the winner is gone %s has it", tt.old, tt.young, got)
			}
		}
	}
}

// A ClusterIP is one Service's, at every port: an external address that is equal to it
// waits, and routes again when the ClusterIP is free.
func TestClusterIPIsNotShared(t *testing.T) {
	key := func(name string) cluster.Key { return cluster.Key{Namespace: "ns", Name: name} }
	table := NewTable()
	at := func(port uint16) Frontend { return Frontend{shared.Addr, port, cluster.TCP} }
	kind := func(r *Route, k Kind) *Route { r.Kind = k; return r }
	evil := []*Route{kind(route("evil", 1, at(80)), ExternalIP), kind(route("evil", 1, at(81)), LoadBalancer)}
	victim := []*Route{kind(route("victim", 2, Frontend{Addr: shared.Addr}), OtherPorts), kind(route("victim", 2, at(80)), ClusterIP)}
	third := []*Route{kind(route("third", 3, at(82)), ExternalIP)}
	check := func(step, want string) {
		t.Helper()
		got, routed := "", 0
		for _, port := range []uint16{80, 81, 82} {
			got += owner(table.Route(at(port))) + " "
			if table.Route(at(port)) != nil {
				routed++
			}
		}
		if table.Route(Frontend{Addr: shared.Addr}) != nil {
			routed++
		}
		if got != want+" " || table.Len() != routed || len(table.Additions()) != routed {
			t.Errorf("%s: %q, want %q; %d frontends, want %d", step, got, want, table.Len(), routed)
		}
	}
	table.Set(key("evil"), evil)
	table.Set(key("third"), third)
	check("without the ClusterIP", "ns/evil ns/evil ns/third")
	if n := len(table.Set(key("victim"), victim)); n != 4 {
		t.Errorf("%d changes, want 4: two frontends come, two go, one of them is taken over", n)
	}
	check("with it", "ns/victim - -")
	if got := table.Winner(at(81)); got != victim[0] {
		t.Errorf("the winner of port 81 is %v", got)
	}
	if got := fmt.Sprint(table.Losers(at(80)), table.Losers(at(81)), table.Losers(at(82))); got != "[ns/evil] [ns/evil] [ns/third]" {
		t.Errorf("losers %s", got)
	}
	if text := table.String(); !strings.Contains(text, "(81/tcp also claimed by ns/evil)") {
		t.Errorf("the waiting claims are missing in\n%s", text)
	}
	if changes := table.Set(key("victim"), victim); len(changes) != 0 {
		t.Errorf("set again: %v", changes)
	}
	table.Set(key("evil"), nil)
	check("a loser is gone", "ns/victim - -")
	table.Set(key("evil"), evil)
	if n := len(table.Set(key("victim"), nil)); n != 4 {
		t.Errorf("%d changes, want 4", n)
	}
	check("the ClusterIP is free", "ns/evil ns/evil ns/third")
	table.Set(key("evil"), nil)
	table.Set(key("third"), nil)
	if len(table.claims)+len(table.outside)+len(table.byService) != 0 {
		t.Errorf("left: %+v", table)
	}
}

func owner(r *Route) string {
	if r == nil {
		return "-"
	}
	return r.Owner.String()
}

// After any sequence of Sets the table is what a fresh one with the last routes
// of each Service is, and the changes applied one after the other lead to it.
func TestSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, last, replay := NewTable(), map[cluster.Key][]*Route{}, map[Frontend]*Route{}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "service")
			key := cluster.Key{Namespace: "ns", Name: name}
			created := map[string]int64{"a": 1, "b": 2, "c": 2}[name]
			var routes []*Route
			if rapid.IntRange(0, 2).Draw(t, "has the address") == 0 {
				r := route(name, created, Frontend{Addr: shared.Addr})
				r.Kind = OtherPorts
				routes = append(routes, r)
			}
			for _, port := range rapid.SliceOfDistinct(rapid.Uint16Range(80, 84), rapid.ID).Draw(t, "ports") {
				f := Frontend{shared.Addr, port, cluster.TCP}
				backends := rapid.SampledFrom([][]string{nil, {"10.0.0.1:1"}, {"10.0.0.1:1", "10.0.0.2:1"}}).Draw(t, "backends")
				r := route(name, created, f, backends...)
				r.Kind = rapid.SampledFrom([]Kind{ClusterIP, ExternalIP, LoadBalancer}).Draw(t, "kind")
				routes = append(routes, r)
			}
			last[key] = routes
			changes := table.Set(key, routes)
			if !slices.IsSortedFunc(changes, func(a, b Change) int { return a.Compare(b.Frontend) }) {
				t.Fatalf("changes out of order: %v", changes)
			}
			for _, c := range changes {
				if have := replay[c.Frontend]; (have == nil) != (c.Old == nil) || have != nil && !have.equal(c.Old) {
					t.Fatalf("change from %v, but there is %v", c.Old, have)
				}
				if c.New == nil {
					delete(replay, c.Frontend)
				} else {
					replay[c.Frontend] = c.New
				}
			}
		}
		fresh := NewTable()
		for key, routes := range last {
			fresh.Set(key, routes)
		}
		if table.String() != fresh.String() {
			t.Fatalf("after the sequence\n%safresh\n%s", table, fresh)
		}
		if len(replay) != table.Len() {
			t.Fatalf("%d frontends by changes, %d in the table", len(replay), table.Len())
		}
		for f, r := range replay {
			if now := table.Route(f); now == nil || !now.equal(r) {
				t.Fatalf("%v: %v by changes, %v in the table", f, r, now)
			}
		}
	})
}

// A change of one Service costs the same in a table of ten and of ten thousand.
func TestSetCost(t *testing.T) {
	cost := func(n int) float64 {
		table := NewTable()
		for i := range n {
			name := fmt.Sprintf("s%05d", i)
			f := Frontend{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), 80, cluster.TCP}
			table.Set(cluster.Key{Namespace: "ns", Name: name}, []*Route{route(name, 0, f, "10.0.0.1:1")})
		}
		key, f := cluster.Key{Namespace: "ns", Name: "s00003"}, Frontend{netip.MustParseAddr("10.96.0.3"), 80, cluster.TCP}
		versions := [][]*Route{{route("s00003", 0, f, "10.0.0.2:1")}, {route("s00003", 0, f, "10.0.0.3:1")}}
		i := 0
		return testing.AllocsPerRun(50, func() {
			if len(table.Set(key, versions[i%2])) != 1 {
				t.Fatal("want one change")
			}
			i++
		})
	}
	if small, large := cost(10), cost(10_000); large > small {
		t.Errorf("%v allocations in a table of 10,000, %v in one of 10", large, small)
	}
}

// Additions lead from nothing to the table: each frontend once, with who has it.
func TestAdditions(t *testing.T) {
	table := NewTable()
	claim := func(name string, created int64) *Route {
		return &Route{Frontend: Frontend{Addr: netip.MustParseAddr("192.0.2.9"), Port: 80, Protocol: cluster.TCP}, Created: created,
			Owner: Owner{Service: cluster.Key{Namespace: "default", Name: name}}}
	}
	younger, older := claim("younger", 2), claim("older", 1)
	table.Set(younger.Owner.Service, []*Route{younger})
	table.Set(older.Owner.Service, []*Route{older})
	if got := table.Additions(); len(got) != 1 || got[0] != (Change{Frontend: older.Frontend, New: older}) {
		t.Errorf("%v", got)
	}
}
