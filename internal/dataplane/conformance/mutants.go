//go:build linux

package conformance

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// mutant is a fault that a dataplane could have, made by telling a good one
// something else. Scenarios name those under which they must fail.
type mutant struct {
	name string
	// routes is what becomes of a route; nil: it stays.
	routes func(r vip.Route, w *world) []*vip.Route
	host   func(dataplane.Host) dataplane.Host
	// misses reports whether a change never arrives.
	misses func(vip.Change) bool
	// forgets flows whenever something changes.
	forgets bool
}

var mutants = []mutant{
	{name: "no-masquerade", routes: treated(policies{
		vip.ClusterPods: vip.ClusterKeep, vip.ClusterMasquerade: vip.ClusterKeep, vip.LocalPods: vip.LocalKeep, vip.LocalMasquerade: vip.LocalKeep,
		vip.ExternalLocal: vip.ClusterKeep, vip.ExternalLocalDrop: vip.ClusterKeep, vip.ExternalLocalNoPods: vip.LocalKeep,
	})},
	{name: "always-masquerade", routes: treated(policies{
		vip.ClusterKeep: vip.ClusterMasquerade, vip.ClusterPods: vip.ClusterMasquerade, vip.LocalKeep: vip.LocalMasquerade, vip.LocalPods: vip.LocalMasquerade,
		vip.ExternalLocal: vip.ClusterMasquerade, vip.ExternalLocalNoPods: vip.LocalMasquerade,
	})},
	{name: "classes-alike", routes: treated(policies{
		vip.ClusterPods: vip.ClusterKeep, vip.LocalPods: vip.LocalKeep,
		vip.ExternalLocal: vip.ClusterKeep, vip.ExternalLocalDrop: vip.ClusterKeep, vip.ExternalLocalNoPods: vip.LocalKeep, vip.ExternalLocalNoPodsDrop: vip.DropAll,
	})},
	{name: "one-backend", routes: served(func(list []vip.Backend, _ *world) []vip.Backend { return list[:1] })},
	{name: "other-backend", routes: served(func(list []vip.Backend, w *world) []vip.Backend {
		list[0].AddrPort = netip.AddrPortFrom(w.stranger(list[0].Addr()), list[0].Port())
		return list
	})},
	{name: "other-port", routes: served(func(list []vip.Backend, _ *world) []vip.Backend {
		for i, b := range list {
			list[i].AddrPort = netip.AddrPortFrom(b.Addr(), b.Port()+1)
		}
		return list
	})},
	{name: "uneven", routes: served(func(list []vip.Backend, _ *world) []vip.Backend {
		for _, port := range morePorts {
			list = append(list, vip.Backend{AddrPort: netip.AddrPortFrom(list[0].Addr(), port), Local: list[0].Local})
		}
		return list
	})},
	{name: "local-is-cluster", routes: edited(func(r *vip.Route, _ *world) {
		elsewhere := slices.DeleteFunc(slices.Clone(r.Cluster), func(b vip.Backend) bool { return slices.Contains(r.Local, b) })
		if len(r.Local) > 0 && len(elsewhere) > 0 {
			r.Local = elsewhere
		}
	})},
	{name: "local-for-cluster", routes: treated(policies{vip.ExternalLocal: vip.LocalKeep, vip.ExternalLocalNoPods: vip.LocalKeep})},
	{name: "every-source", routes: edited(func(r *vip.Route, _ *world) { r.Sources = nil })},
	{name: "no-affinity", routes: edited(func(r *vip.Route, _ *world) { r.Affinity = 0 })},
	{name: "eternal-affinity", routes: edited(func(r *vip.Route, _ *world) { r.Affinity = min(r.Affinity*10000, 86400) })},
	{name: "affinity-by-frontend", routes: edited(func(r *vip.Route, _ *world) { r.Owner.Port += r.Kind.String() })},
	{name: "no-other-ports", routes: func(r vip.Route, _ *world) []*vip.Route {
		if r.IsOtherPorts() {
			return nil
		}
		return []*vip.Route{&r}
	}},
	{name: "no-service-cidrs", host: func(h dataplane.Host) dataplane.Host { h.ServiceCIDRs = nil; return h }},
	{name: "no-overlaps", host: func(h dataplane.Host) dataplane.Host { h.Overlaps = nil; return h }},
	{name: "one-address", host: func(h dataplane.Host) dataplane.Host {
		h.NodePortAll4, h.NodePortAll6 = false, false
		h.NodePortAddrs = slices.DeleteFunc(slices.Clone(h.NodePortAddrs), func(a netip.Addr) bool {
			return a == secondAddr[ipv4].Addr() || a == secondAddr[ipv6].Addr()
		})
		return h
	}},
	{name: "lost", routes: func(vip.Route, *world) []*vip.Route { return nil }},
	{name: "no-refusal", routes: func(r vip.Route, _ *world) []*vip.Route {
		if r.Policy == vip.RejectAll {
			return nil
		}
		return []*vip.Route{&r}
	}},
	{name: "silent-refusal", routes: treated(policies{vip.RejectAll: vip.DropAll})},
	{name: "no-drop", routes: treated(policies{
		vip.DropAll: vip.RejectAll, vip.ExternalLocalDrop: vip.ClusterMasquerade, vip.ExternalLocalNoPodsDrop: vip.ClusterMasquerade,
	})},
	{name: "no-hairpin", routes: served(func(list []vip.Backend, _ *world) []vip.Backend {
		for i := range list {
			list[i].Local = false
		}
		return list
	})},
	{name: "stray", routes: stray},
	{name: "taken-node", routes: takeNode},
	{name: "taken-ports", routes: takePorts},
	{name: "every-address", host: func(h dataplane.Host) dataplane.Host {
		for _, f := range bothFamilies {
			h.NodePortAddrs = append(slices.Clone(h.NodePortAddrs), secondAddr[f].Addr(), loopback[f])
		}
		return h
	}},
	{name: "pods-unknown", host: func(h dataplane.Host) dataplane.Host { h.Pods = vip.Pods{}; return h }},
	{name: "no-update", misses: func(c vip.Change) bool { return c.Old != nil && c.New != nil }},
	{name: "no-deletion", misses: func(c vip.Change) bool { return c.New == nil }},
	{name: "forgets-flows", forgets: true},
}

func mutantNames() []string {
	var names []string
	for _, m := range mutants {
		names = append(names, m.name)
	}
	return names
}

func mutantOf(name string) mutant {
	return mutants[slices.Index(mutantNames(), name)]
}

// edited is a mutation of a copy.
func edited(change func(*vip.Route, *world)) func(vip.Route, *world) []*vip.Route {
	return func(r vip.Route, w *world) []*vip.Route {
		r.Cluster, r.Local = slices.Clone(r.Cluster), slices.Clone(r.Local)
		change(&r, w)
		sortBackends(r.Cluster)
		sortBackends(r.Local)
		return []*vip.Route{&r}
	}
}

// served is a mutation of each set of backends that is not empty.
func served(change func([]vip.Backend, *world) []vip.Backend) func(vip.Route, *world) []*vip.Route {
	return edited(func(r *vip.Route, w *world) {
		for _, set := range []*[]vip.Backend{&r.Cluster, &r.Local} {
			if len(*set) > 0 {
				*set = change(*set, w)
			}
		}
	})
}

// policies are what becomes of some policies; the rest stay.
type policies map[vip.Policy]vip.Policy

// treated is a mutation of the policy.
func treated(by policies) func(vip.Route, *world) []*vip.Route {
	return edited(func(r *vip.Route, _ *world) {
		if p, ok := by[r.Policy]; ok {
			r.Policy = p
		}
	})
}

// stray also claims what lies beside a frontend: the next port, the next address,
// the other protocols, its backends themselves, and for a NodePort nothing more.
// All of it leads to the stranger.
func stray(r vip.Route, w *world) []*vip.Route {
	if r.IsOtherPorts() {
		return []*vip.Route{&r}
	}
	all := []*vip.Route{&r}
	claim := func(f vip.Frontend) {
		if f == r.Frontend {
			return
		}
		o := vip.Route{Frontend: f, Kind: r.Kind, Owner: r.Owner, Created: r.Created + 1}
		o.Cluster = []vip.Backend{{AddrPort: netip.AddrPortFrom(w.stranger(r.Addr), defaultTarget)}}
		all = append(all, &o)
	}
	for _, protocol := range []cluster.Protocol{cluster.TCP, cluster.UDP} {
		claim(vip.Frontend{Addr: r.Addr, Port: r.Port, Protocol: protocol})
	}
	claim(vip.Frontend{Addr: r.Addr, Port: r.Port + 1, Protocol: r.Protocol})
	if !r.IsNodePort() {
		claim(vip.Frontend{Addr: r.Addr.Next(), Port: r.Port, Protocol: r.Protocol})
	}
	for _, b := range r.Cluster {
		claim(vip.Frontend{Addr: b.Addr(), Port: b.Port(), Protocol: r.Protocol})
	}
	return all
}

// takeNode also claims the port on which nodes answer themselves.
func takeNode(r vip.Route, w *world) []*vip.Route {
	o := vip.Route{Frontend: vip.Frontend{Addr: vip.AnyNode6, Port: defaultTarget, Protocol: r.Protocol}, Kind: vip.NodePort, Owner: r.Owner, Created: r.Created + 1}
	if r.Addr.Is4() {
		o.Addr = vip.AnyNode4
	}
	o.Cluster = []vip.Backend{{AddrPort: netip.AddrPortFrom(w.stranger(r.Addr), defaultTarget)}}
	if r.IsOtherPorts() {
		return []*vip.Route{&r}
	}
	return []*vip.Route{&r, &o}
}

// takePorts also claims, at the address of an external IP, the ports that nodes keep to themselves.
func takePorts(r vip.Route, w *world) []*vip.Route {
	all := []*vip.Route{&r}
	if r.Kind != vip.ExternalIP {
		return all
	}
	for _, port := range guardedPorts {
		o := r
		o.Port, o.Created = port, r.Created+1
		all = append(all, &o)
	}
	return all
}

// stranger is the address of the pod that no dataplane should lead to.
func (w *world) stranger(like netip.Addr) netip.Addr {
	if like.Is4() {
		return w.addr(stranger, ipv4)
	}
	return w.addr(stranger, ipv6)
}

// mutated wraps a dataplane in the mutant that the world is to show.
func (w *world) mutated(p plane) plane {
	if w.mutant.name == "" {
		return p
	}
	return &mutatedPlane{Dataplane: p, mutant: w.mutant, world: w}
}

// mutatedPlane tells a dataplane something else than what it is told.
type mutatedPlane struct {
	dataplane.Dataplane
	mutant
	world *world
	table *vip.Table // what the dataplane believes: each frontend as a Service of its own
}

func (m *mutatedPlane) Sync(ctx context.Context, host dataplane.Host, t *vip.Table) error {
	m.table = vip.NewTable()
	for r := range t.All() {
		m.set(r.Frontend, r)
	}
	if m.host != nil {
		host = m.host(host)
	}
	return errors.Join(m.Dataplane.Sync(ctx, host, m.table), m.forget())
}

func (m *mutatedPlane) Apply(ctx context.Context, changes []vip.Change) (due time.Time, err error) {
	var errs []error
	for _, c := range changes {
		if m.misses == nil || !m.misses(c) {
			due, err = m.Dataplane.Apply(ctx, m.set(c.Frontend, c.New))
			errs = append(errs, err)
		}
	}
	return due, errors.Join(append(errs, m.forget())...)
}

func (m *mutatedPlane) set(f vip.Frontend, r *vip.Route) []vip.Change {
	var routes []*vip.Route
	switch {
	case r == nil:
	case m.routes == nil:
		routes = []*vip.Route{r}
	default:
		routes = m.routes(*r, m.world)
	}
	return m.table.Set(cluster.Key{Name: f.String()}, routes)
}

func (m *mutatedPlane) forget() error {
	if !m.forgets {
		return nil
	}
	return netlink.ConntrackTableFlush(netlink.ConntrackTable)
}
