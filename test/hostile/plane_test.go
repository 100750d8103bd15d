package hostile

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// perElement is how long a plane takes for one backend of a route. The time is that of a synctest bubble.
const perElement = 20 * time.Microsecond

// A plane is a dataplane without a kernel. It takes time as a kernel does, and counts what it was given.
type plane struct {
	mu       sync.Mutex
	routes   map[vip.Frontend]*vip.Route
	elements int // written so far
	writes   int
}

func newPlane() *plane { return &plane{routes: map[vip.Frontend]*vip.Route{}} }

// Sync implements dataplane.Dataplane.
func (p *plane) Sync(_ context.Context, _ dataplane.Host, t *vip.Table) error {
	p.write(func() (cost int) {
		p.routes = map[vip.Frontend]*vip.Route{}
		for r := range t.All() {
			p.routes[r.Frontend] = r
			cost += elements(nil, r)
		}
		return cost
	})
	return nil
}

// Apply implements dataplane.Dataplane.
func (p *plane) Apply(_ context.Context, changes []vip.Change) (time.Time, error) {
	p.write(func() (cost int) {
		for _, c := range changes {
			cost += elements(p.routes[c.Frontend], c.New)
			if delete(p.routes, c.Frontend); c.New != nil {
				p.routes[c.Frontend] = c.New
			}
		}
		return cost
	})
	return time.Time{}, nil
}

// write sleeps as long as a write takes, then shows its result.
func (p *plane) write(do func() (cost int)) {
	p.mu.Lock()
	before := maps.Clone(p.routes)
	cost := do()
	after := p.routes
	p.routes = before // readers see the result after the sleep
	p.mu.Unlock()
	time.Sleep(time.Duration(cost) * perElement)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.routes = after
	p.elements += cost
	p.writes++
}

// elements is how many backends differ between two routes, and one for the frontend.
func elements(was, is *vip.Route) int {
	n := 1
	count := func(list []vip.Backend, other func(netip.AddrPort) bool) {
		for _, b := range list {
			if !other(b.AddrPort) {
				n++
			}
		}
	}
	in := func(r *vip.Route) func(netip.AddrPort) bool {
		if r == nil {
			return func(netip.AddrPort) bool { return false }
		}
		list := r.Reachable()
		return func(a netip.AddrPort) bool {
			_, found := slices.BinarySearchFunc(list, a, func(b vip.Backend, a netip.AddrPort) int { return b.Compare(a) })
			return found
		}
	}
	if was != nil {
		count(was.Reachable(), in(is))
	}
	if is != nil {
		count(is.Reachable(), in(was))
	}
	return n
}

// Tick implements dataplane.Dataplane.
func (p *plane) Tick(context.Context, time.Time) (dataplane.State, error) {
	return dataplane.State{}, nil
}

// Close implements dataplane.Dataplane.
func (p *plane) Close() error { return nil }

// Clean makes the plane the conntrack of its node.
func (p *plane) Clean([]netip.Addr, []conntrack.Keep) {}

// of returns the routes of the tenant, or those of all other namespaces, as text.
func (p *plane) of(tenants bool) map[vip.Frontend]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := map[vip.Frontend]string{}
	for f, r := range p.routes {
		if (r.Owner.Service.Namespace == tenantNamespace) == tenants {
			lines[f] = r.String()
		}
	}
	return lines
}

// seen returns how many elements and writes there were.
func (p *plane) seen() (elements, writes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.elements, p.writes
}

// difference lists the lines that only one of both has.
func difference(want, got map[vip.Frontend]string) string {
	var b strings.Builder
	for _, f := range slices.SortedFunc(maps.Keys(want), vip.Frontend.Compare) {
		if got[f] != want[f] {
			fmt.Fprintf(&b, "-%s\n+%s\n", want[f], got[f])
		}
	}
	for _, f := range slices.SortedFunc(maps.Keys(got), vip.Frontend.Compare) {
		if want[f] == "" {
			fmt.Fprintf(&b, "+%s\n", got[f])
		}
	}
	return b.String()
}
