package vip

import (
	"fmt"
	"net/netip"
	"slices"
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
			for _, port := range rapid.SliceOfDistinct(rapid.Uint16Range(80, 84), rapid.ID).Draw(t, "ports") {
				f := Frontend{shared.Addr, port, cluster.TCP}
				backends := rapid.SampledFrom([][]string{nil, {"10.0.0.1:1"}, {"10.0.0.1:1", "10.0.0.2:1"}}).Draw(t, "backends")
				routes = append(routes, route(name, created, f, backends...))
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
