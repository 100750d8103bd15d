package agent

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/vip"
)

// flows knows which UDP backends serve, and so which UDP frontends have flows to
// look for. A backend that takes no new flows may go on serving old ones: the routes
// do not tell (a policy must not cut a flow), so it is read from the endpoints.
type flows struct {
	serving map[vip.Owner]backends      // of each UDP port
	ports   map[cluster.Key][]vip.Owner // the UDP ports of a Service
	look    map[vip.Frontend]struct{}   // frontends that lost something since the last stale
}

// backends are endpoints that answer, sorted: those that are ready, and those that only
// finish what goes on.
type backends struct{ ready, draining []netip.AddrPort }

func newFlows() flows {
	return flows{serving: map[vip.Owner]backends{}, ports: map[cluster.Key][]vip.Owner{}, look: map[vip.Frontend]struct{}{}}
}

// update takes over a Service as it is now, with its routes and what they changed in
// the table. The cost is that of this Service; without UDP ports nearly nothing.
func (f *flows) update(service cluster.Key, e *cluster.Entry, routes []*vip.Route, differ []vip.Change) {
	for _, c := range differ {
		// A frontend that is new may have flows from before it was one.
		if c.Protocol == cluster.UDP && (c.Old == nil || c.New == nil || c.Old.Owner != c.New.Owner) {
			f.look[c.Frontend] = struct{}{}
		}
	}
	now := map[vip.Owner]backends{}
	if e != nil && len(routes) > 0 {
		for i := range e.Service.Ports {
			if p := &e.Service.Ports[i]; p.Protocol == cluster.UDP {
				now[vip.Owner{Service: service, Port: p.Name}] = serving(e, p)
			}
		}
	}
	for _, owner := range f.ports[service] {
		before, after := f.serving[owner], now[owner]
		// One that begins to drain is gone from the ready ones.
		if lost(before.ready, after.ready) || lost(before.draining, after.draining) {
			f.lookAt(owner, routes)
		}
		delete(f.serving, owner)
	}
	delete(f.ports, service)
	for owner, there := range now {
		f.serving[owner] = there
		f.ports[service] = append(f.ports[service], owner)
	}
}

func (f *flows) lookAt(owner vip.Owner, routes []*vip.Route) {
	for _, r := range routes {
		if r.Owner == owner && r.Protocol == cluster.UDP {
			f.look[r.Frontend] = struct{}{}
		}
	}
}

// stale returns the frontends to look at since the last call, with the backends that
// may keep their flows.
func (f *flows) stale(t *vip.Table) []conntrack.Keep {
	var out []conntrack.Keep
	for at := range f.look {
		k := conntrack.Keep{Frontend: at}
		if r := t.Route(at); r != nil {
			there := f.serving[r.Owner]
			k.Backends, k.Draining = there.ready, there.draining
		}
		out = append(out, k)
	}
	clear(f.look)
	return out
}

// lookAtAll has stale return every UDP frontend.
func (f *flows) lookAtAll(t *vip.Table) {
	if len(f.serving) == 0 {
		return
	}
	for r := range t.All() {
		if r.Protocol == cluster.UDP {
			f.look[r.Frontend] = struct{}{}
		}
	}
}

// serving are the endpoints of a port that answer, whether or not they take new flows.
func serving(e *cluster.Entry, p *cluster.ServicePort) (out backends) {
	for _, s := range e.Slices {
		for _, sp := range s.Ports {
			if sp.Name != p.Name || sp.Protocol != p.Protocol {
				continue
			}
			for i := range s.Endpoints {
				ep := &s.Endpoints[i]
				switch at := netip.AddrPortFrom(ep.Addr, sp.Number); {
				case ep.Has(cluster.Ready):
					out.ready = append(out.ready, at)
				case ep.Has(cluster.Serving):
					out.draining = append(out.draining, at)
				}
			}
		}
	}
	for _, list := range []*[]netip.AddrPort{&out.ready, &out.draining} {
		slices.SortFunc(*list, netip.AddrPort.Compare)
		*list = slices.Compact(*list)
	}
	return out
}

// lost reports whether something of before is missing in now; both are sorted.
func lost(before, now []netip.AddrPort) bool {
	for _, b := range before {
		if _, there := slices.BinarySearchFunc(now, b, netip.AddrPort.Compare); !there {
			return true
		}
	}
	return false
}
