package vip

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// randomRoutes are routes of one Service at some of a few frontends, sorted.
func randomRoutes(t *rapid.T, service string) (routes []*Route) {
	created := int64(rapid.IntRange(0, 1).Draw(t, "created"))
	for at := range 4 {
		if !rapid.Bool().Draw(t, "frontend") {
			continue
		}
		f := Frontend{numberedPod(at), 80, cluster.TCP}
		r := route(service, created, f)
		draw := func(what string) (list []Backend) {
			most := rapid.SampledFrom([]int{0, 3, 20, 40}).Draw(t, what)
			for i := range most {
				if rapid.IntRange(0, 4).Draw(t, "has") > 0 {
					list = append(list, Backend{netip.AddrPortFrom(numberedPod(i), 1), rapid.IntRange(0, 9).Draw(t, "here") == 0})
				}
			}
			return list
		}
		r.Cluster = draw("cluster")
		if rapid.Bool().Draw(t, "local too") {
			r.Local = draw("local")
		}
		switch {
		case len(r.Cluster) > 0 && len(r.Local) > 0:
			r.Policy = ExternalLocal
		case len(r.Cluster) > 0:
			r.Policy = rapid.SampledFrom([]Policy{ClusterKeep, ExternalLocalDrop}).Draw(t, "policy")
		case len(r.Local) > 0:
			r.Policy = LocalKeep
		default:
			r.Policy = RejectAll
		}
		routes = append(routes, r)
	}
	return routes
}

// TestStepsEndAsSet takes Services through steps that other changes come between. Every
// step is as small as it can be and leads from what the kernel has; every route on the
// way can be programmed and has backends of the old or the new route only; and the table
// in the end is the one that Set makes.
func TestStepsEndAsSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table, kernel, fresh := NewTable(), map[Frontend]*Route{}, NewTable()
		write := func(changes []Change) {
			for _, c := range changes {
				if have := kernel[c.Frontend]; (have == nil) != (c.Old == nil) || have != nil && !have.equal(c.Old) {
					t.Fatalf("the kernel has %v, the change is from %v", kernel[c.Frontend], c.Old)
				}
				delete(kernel, c.Frontend)
				if c.New != nil {
					kernel[c.Frontend] = c.New
				}
			}
		}
		set := func(service string, routes []*Route) {
			write(table.Set(cluster.Key{Namespace: "ns", Name: service}, routes))
			fresh.Set(cluster.Key{Namespace: "ns", Name: service}, routes)
		}
		set("other", randomRoutes(t, "other"))
		set(web.Name, randomRoutes(t, web.Name))
		before := maps.Collect(routesByFrontend(table.byService[web]))
		routes, most := randomRoutes(t, web.Name), rapid.IntRange(1, 12).Draw(t, "most")
		after := maps.Collect(routesByFrontend(routes))
		fresh.Set(web, routes)
		tr := table.Begin(web, routes)
		for n := 0; ; n++ {
			s := table.Advance(tr, most)
			write(s.Changes)
			for _, r := range table.byService[web] {
				checkBetween(t, r, before[r.Frontend], after[r.Frontend])
			}
			checkStep(t, s, most)
			if s.Done {
				break
			}
			if n > 1000 {
				t.Fatal("it does not end")
			}
			if rapid.IntRange(0, 3).Draw(t, "another change") == 0 {
				set("other", randomRoutes(t, "other"))
			}
		}
		if table.String() != fresh.String() {
			t.Fatalf("got\n%v\nwant\n%v", table, fresh)
		}
		if in := slices.Collect(maps.Values(kernel)); len(in) != table.Len() {
			t.Fatalf("the kernel has %v, the table\n%v", in, table)
		}
		for f, r := range kernel {
			if now := table.Route(f); now == nil || !now.equal(r) {
				t.Fatalf("the kernel has %v, the table %v", r, table.Route(f))
			}
		}
	})
}

func routesByFrontend(routes []*Route) func(func(Frontend, *Route) bool) {
	return func(yield func(Frontend, *Route) bool) {
		for _, r := range routes {
			if !yield(r.Frontend, r) {
				return
			}
		}
	}
}

// checkBetween: a route has backends that the old or the new one has, and those that its
// decisions need.
func checkBetween(t *rapid.T, r, before, after *Route) {
	for c := range Classes {
		if d := r.Policy.Of(c); d.Action == Forward && len(r.Backends(d.Set)) == 0 {
			t.Fatalf("%v forwards %v to no backends", r, c)
		}
	}
	for _, s := range []Set{Cluster, Local} {
		var known []Backend
		for _, o := range []*Route{before, after} {
			if o != nil {
				known = append(known, o.Backends(s)...)
			}
		}
		list := r.Backends(s)
		for i, b := range list {
			if !slices.Contains(known, b) {
				t.Fatalf("%v leads to %v, which neither the old nor the new route has", r, b)
			}
			if i > 0 && list[i-1].Compare(b.AddrPort) >= 0 {
				t.Fatalf("%v: backends are not sorted", r)
			}
		}
		if n := len(list); before != nil && after != nil && (n > max(len(before.Backends(s)), len(after.Backends(s)))) {
			t.Fatalf("%v has %d backends, more than both %v and %v", r, n, before, after)
		}
	}
}

// checkStep: a step is within its cost, or of one frontend.
func checkStep(t *rapid.T, s Step, most int) {
	if s.Cost > most && len(s.Routes) > 1 {
		t.Fatalf("a step of at most %d costs %d with %d frontends", most, s.Cost, len(s.Routes))
	}
}

// TestALargeRouteGoesInSlices counts the changes of each step of one frontend.
func TestALargeRouteGoesInSlices(t *testing.T) {
	f := Frontend{numberedPod(1), 80, cluster.TCP}
	list := func(from, to int) *Route {
		r := route(web.Name, 0, f)
		for i := from; i < to; i++ {
			r.Cluster = append(r.Cluster, Backend{AddrPort: netip.AddrPortFrom(numberedPod(i), 1)})
		}
		return r
	}
	for _, c := range []struct {
		name    string
		was, is *Route
		want    string
	}{
		{"comes", nil, list(0, 100), "[65 75 85 95 100]"},
		{"goes", list(0, 100), nil, "[90 80 70 0]"},
		{"goes with its policy", list(0, 100), list(0, 0), "[90 80 70 0]"},
		{"grows", list(0, 70), list(0, 100), "[80 90 100]"},
		{"crosses a power of two", list(0, 64), list(0, 65), "[65]"},
		{"is replaced by lower ones", list(100, 130), list(0, 30), "[30 30 30]"},
		{"is replaced by higher ones", list(0, 30), list(100, 130), "[30 30 30]"},
		{"changes by little", list(0, 100), list(5, 105), "[100]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			table := NewTable()
			routes := func(r *Route) []*Route {
				if r == nil {
					return nil
				}
				return []*Route{r}
			}
			table.Set(web, routes(c.was))
			tr := table.Begin(web, routes(c.is))
			var sizes []int
			for done := false; !done; {
				done = table.Advance(tr, 10).Done
				sizes = append(sizes, table.Route(f).size())
			}
			if got := fmt.Sprint(sizes); got != c.want {
				t.Errorf("backends after each step: got %s, want %s", got, c.want)
			}
		})
	}
}
