package agent

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/vip"
)

// flows knows which frontends have flows to look for: those of UDP that lost a backend, and those of both UDP and
// TCP that are new, for they may have flows that met no rule. Where half-open connections are cut, it knows the
// backends of TCP, too. A backend that takes no new flows may go on serving old ones: the routes
// do not tell (a policy must not cut a flow), so it is read from the endpoints.
type flows struct {
	cut     bool                      // half-open TCP connections to backends that are gone
	serving map[portKey]backends      // of each port that is tracked
	ports   map[cluster.Key][]portKey // those of a Service
	look    map[vip.Frontend]struct{} // frontends to look at since the last stale
}

// backends are endpoints that answer, sorted: those that are ready, and those that only
// finish what goes on.
type backends struct{ ready, draining []netip.AddrPort }

// portKey is a port of a Service: two may have one name, each of its own protocol.
type portKey struct {
	vip.Owner
	protocol cluster.Protocol
}

// newFlows returns flows that begins with the frontends from before the start.
func newFlows(cut bool, before []vip.Frontend) flows {
	f := flows{cut: cut, serving: map[portKey]backends{}, ports: map[cluster.Key][]portKey{}, look: map[vip.Frontend]struct{}{}}
	for _, at := range before {
		f.lookAt(at)
	}
	return f
}

// tracks reports whether flows of a protocol are stale once their backend is gone.
func (f *flows) tracks(p cluster.Protocol) bool { return p == cluster.UDP || f.cut && p == cluster.TCP }

// lookAt has stale return a frontend.
func (f *flows) lookAt(at vip.Frontend) {
	if at.Protocol == cluster.UDP || at.Protocol == cluster.TCP {
		f.look[at] = struct{}{}
	}
}

// update takes over the backends of a Service as it is now, with its routes and the
// frontends that are new, gone or another's. The cost is that of this Service; without
// ports that are tracked nearly nothing.
func (f *flows) update(service cluster.Key, now map[portKey]backends, routes []*vip.Route, owned []vip.Frontend) {
	for _, at := range owned {
		f.lookAt(at) // a frontend that is new may have flows from before it was one
	}
	for _, owner := range f.ports[service] {
		before, after := f.serving[owner], now[owner]
		// One that begins to drain is gone from the ready ones.
		if lost(before.ready, after.ready) || lost(before.draining, after.draining) {
			f.lookAtPort(owner, routes)
		}
		delete(f.serving, owner)
	}
	delete(f.ports, service)
	for owner, there := range now {
		f.serving[owner] = there
		f.ports[service] = append(f.ports[service], owner)
	}
}

// newOwners are the frontends that are new, gone, or another's than before.
func newOwners(differ []vip.Change) (list []vip.Frontend) {
	for _, c := range differ {
		if c.Old == nil || c.New == nil || c.Old.Owner != c.New.Owner {
			list = append(list, c.Frontend)
		}
	}
	return list
}

// servingOf are the backends of each port of a Service that is tracked.
func servingOf(service cluster.Key, e *cluster.Entry, routes []*vip.Route, tracks func(cluster.Protocol) bool) map[portKey]backends {
	if e == nil || len(routes) == 0 {
		return nil
	}
	var now map[portKey]backends
	for i := range e.Service.Ports {
		if p := &e.Service.Ports[i]; tracks(p.Protocol) {
			if now == nil {
				now = map[portKey]backends{}
			}
			now[portKey{vip.Owner{Service: service, Port: p.Name}, p.Protocol}] = serving(e, p)
		}
	}
	return now
}

func (f *flows) lookAtPort(port portKey, routes []*vip.Route) {
	for _, r := range routes {
		if r.Owner == port.Owner && r.Protocol == port.protocol {
			f.look[r.Frontend] = struct{}{}
		}
	}
}

// stale returns the frontends to look at since the last call, with the backends that
// may keep their flows.
func (f *flows) stale(t *vip.Table) []conntrack.Keep {
	var out []conntrack.Keep
	for at := range f.look {
		k := conntrack.Keep{Frontend: at, Untranslated: !f.tracks(at.Protocol)}
		r := t.Route(at)
		if r == nil && k.Untranslated {
			continue // it has no rules that the client's next attempt could meet
		}
		if r != nil && !k.Untranslated {
			there := f.serving[portKey{r.Owner, r.Protocol}]
			k.Backends, k.Draining = there.ready, there.draining
		}
		out = append(out, k)
	}
	if len(f.look) > 0 {
		f.look = map[vip.Frontend]struct{}{} // not cleared: to walk through a map costs what it once held
	}
	return out
}

// lookAtAll has stale return every frontend.
func (f *flows) lookAtAll(t *vip.Table) {
	for r := range t.All() {
		f.lookAt(r.Frontend)
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
				case ep.Has(cluster.Additional): // it has no route
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
		for len(now) > 0 && now[0].Compare(b) < 0 {
			now = now[1:]
		}
		if len(now) == 0 || now[0] != b {
			return true
		}
	}
	return false
}
