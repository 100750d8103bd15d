package agent

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// apiService is the Service whose endpoints are the API servers.
var apiService = cluster.Ref{Kind: cluster.KindService, Key: cluster.Key{Namespace: "default", Name: "kubernetes"}}

// guard returns what Services must not claim from nodes. It includes the addresses of other
// nodes only if they run an API server or if the Store has them; with an API the Store holds
// only this node's object. Watching all Nodes would cost each API server one update of every
// Node (10 to 30 kB) every five minutes per node: about 1.5 GB/s with 5,000 nodes.
func (o *Options) guard(object *cluster.Node, machine []netip.Addr) vip.Guard {
	g := vip.Guard{ServiceCIDRs: o.Store.ServiceCIDRs(), Ports: slices.Clone(o.GuardedPorts), API: apiServers(o.Store), Machine: sortedAddrs(slices.Clone(machine))}
	if a := o.NodeAddr; a.IsValid() && !a.IsUnspecified() {
		g.Known = append(g.Known, a)
	}
	if object != nil {
		g.Known = append(g.Known, object.Addrs...)
		if object.KubeletPort != 0 {
			g.Ports = append(g.Ports, vip.Port{Number: object.KubeletPort, Protocol: cluster.TCP})
		}
	}
	for n := range o.Store.Nodes() {
		if n.Name != o.NodeName {
			g.Others = append(g.Others, n.Addrs...)
		}
	}
	for _, e := range g.API {
		g.Others = append(g.Others, e.Addr())
	}
	g.Known, g.Others = sortedAddrs(g.Known), sortedAddrs(g.Others)
	return g
}

func sortedAddrs(list []netip.Addr) []netip.Addr {
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

// apiServers returns the sorted endpoints of default/kubernetes.
func apiServers(s *cluster.Store) (list []netip.AddrPort) {
	e := s.Service(apiService.Key.Namespace, apiService.Key.Name)
	if e == nil {
		return nil
	}
	for i := range e.Service.Ports {
		there := serving(e, &e.Service.Ports[i])
		list = append(append(list, there.ready...), there.draining...)
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

// servicesIn adds the Services with external addresses in any of the networks to refs.
func (a *Agent) servicesIn(networks []netip.Prefix, refs []cluster.Ref) []cluster.Ref {
	known := map[cluster.Ref]bool{}
	for _, r := range refs {
		known[r] = true
	}
	for _, p := range networks {
		for addr := range a.Store.OutsideIn(p) {
			for o := a.Store.OwnersOutside(addr); o.Valid(); o = o.Next() {
				if e := o.Entry(); e != nil && !known[e.Service.Ref()] {
					known[e.Service.Ref()] = true
					refs = append(refs, e.Service.Ref())
				}
			}
		}
	}
	return refs
}

// refusals records the frontends that Services request and this node refuses.
type refusals struct {
	of    map[cluster.Key][]vip.Refusal
	total int
}

// update replaces the refusals of a Service that was just built, and returns those that
// are new.
func (r *refusals) update(service cluster.Key, now []vip.Refusal) (fresh []vip.Refusal) {
	before := r.of[service]
	r.total += len(now) - len(before)
	if len(now) == 0 {
		delete(r.of, service)
		return nil
	}
	known := make(map[vip.Refusal]bool, len(before))
	for _, b := range before {
		known[b] = true
	}
	for _, n := range now {
		if !known[n] {
			fresh = append(fresh, n)
		}
	}
	r.of[service] = now
	return fresh
}

// guarded reports the refused frontends of a Service: one log line and one Event,
// regardless of the number of addresses and ports.
func (a *Agent) guarded(service cluster.Key, e *cluster.Entry) {
	fresh := a.refusals.update(service, vip.Refused(e, a.node))
	if len(fresh) == 0 {
		return
	}
	text := fresh[0].String() + more(len(fresh)-1, "frontend")
	a.Log.Warn("frontends of a Service refused; its other frontends are served", "service", service.String(), "refused", text)
	a.event(service, "FrontendRefused", text)
}
