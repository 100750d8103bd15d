package agent

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/vip"
)

// flows tracks which frontends may have stale flows: UDP frontends that lost a backend, and new UDP and TCP frontends,
// whose earlier flows bypass the rules. With cut it also tracks backends of TCP frontends. A backend that takes no new
// flows may keep serving old ones. Routes do not show that (a policy must not cut a flow), so flows reads the endpoints.
type flows struct {
	cut     bool                      // also tracks TCP, for half-open connections to removed backends
	serving map[portKey]backends      // by tracked port
	ports   map[cluster.Key][]portKey // tracked ports, by Service
	look    map[vip.Frontend]struct{} // frontends to check since the last call of stale
}

// backends lists the serving endpoints, sorted: those that are ready, and those that only
// finish existing flows.
type backends struct{ ready, draining []netip.AddrPort }

// portKey identifies a port of a Service. Two ports may share a name if their protocols differ.
type portKey struct {
	vip.Owner
	protocol cluster.Protocol
}

// newFlows returns flows that checks the frontends from before the start first.
func newFlows(cut bool, before []vip.Frontend) flows {
	f := flows{cut: cut, serving: map[portKey]backends{}, ports: map[cluster.Key][]portKey{}, look: map[vip.Frontend]struct{}{}}
	for _, at := range before {
		f.lookAt(at)
	}
	return f
}

// tracks reports whether flows of a protocol become stale when their backend is removed.
func (f *flows) tracks(p cluster.Protocol) bool { return p == cluster.UDP || f.cut && p == cluster.TCP }

// lookAt adds a frontend to the result of stale.
func (f *flows) lookAt(at vip.Frontend) {
	if at.Protocol == cluster.UDP || at.Protocol == cluster.TCP {
		f.look[at] = struct{}{}
	}
}

// update records the current backends of a Service. owned lists the frontends that are
// new, gone or have another owner. The cost depends on this Service only, and is close to
// zero if it has no tracked ports.
func (f *flows) update(service cluster.Key, now map[portKey]backends, routes []*vip.Route, owned []vip.Frontend) {
	for _, at := range owned {
		f.lookAt(at) // a new frontend may have flows that started without its rules
	}
	for _, owner := range f.ports[service] {
		before, after := f.serving[owner], now[owner]
		// A backend that starts to drain is missing in the ready ones.
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

// newOwners returns the frontends that are new, gone, or have another owner than before.
func newOwners(differ []vip.Change) (list []vip.Frontend) {
	for _, c := range differ {
		if c.Old == nil || c.New == nil || c.Old.Owner != c.New.Owner {
			list = append(list, c.Frontend)
		}
	}
	return list
}

// servingOf returns the backends of each tracked port of a Service.
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

// stale returns the frontends to check since the last call, each with the backends that
// may keep their flows.
func (f *flows) stale(t *vip.Table) []conntrack.Keep {
	var out []conntrack.Keep
	for at := range f.look {
		k := conntrack.Keep{Frontend: at, Untranslated: !f.tracks(at.Protocol)}
		r := t.Route(at)
		if r == nil && k.Untranslated {
			continue // without rules, a retry of the client would take the same path again
		}
		if r != nil && !k.Untranslated {
			there := f.serving[portKey{r.Owner, r.Protocol}]
			k.Backends, k.Draining = there.ready, there.draining
		}
		out = append(out, k)
	}
	if len(f.look) > 0 {
		f.look = map[vip.Frontend]struct{}{} // replaced, not cleared: iterating a cleared map scans its old buckets
	}
	return out
}

// lookAtAll adds every frontend of a table to the result of stale.
func (f *flows) lookAtAll(t *vip.Table) {
	for r := range t.All() {
		f.lookAt(r.Frontend)
	}
}

// serving returns the endpoints of a port that serve flows, whether or not they accept new ones.
func serving(e *cluster.Entry, p *cluster.ServicePort) (out backends) {
	for _, s := range e.Slices {
		for _, sp := range s.Ports {
			if sp.Name != p.Name || sp.Protocol != p.Protocol {
				continue
			}
			for i := range s.Endpoints {
				ep := &s.Endpoints[i]
				switch at := netip.AddrPortFrom(ep.Addr, sp.Number); {
				case ep.Has(cluster.Additional): // endpoints of this kind have no route
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

// lost reports whether before contains an address that now lacks. Both are sorted.
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
