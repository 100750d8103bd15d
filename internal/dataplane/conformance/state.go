//go:build linux

package conformance

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// key is the key of a Service or route by its name.
func key(name string) cluster.Key { return cluster.Key{Namespace: "conformance", Name: name} }

// put makes a Service, or replaces it, as the API would tell.
func (w *world) put(s service) error {
	w.services[s.name] = s
	objects := []cluster.Object{w.object(s)}
	for _, f := range bothFamilies {
		objects = append(objects, w.slice(s, f))
	}
	w.store.Put(0, objects...)
	return w.build(s.name)
}

// putEndpoints replaces the endpoints of a Service.
func (w *world) putEndpoints(e endpoints) error {
	s, ok := w.services[e.service]
	if !ok {
		return fmt.Errorf("there is no Service %s", e.service)
	}
	s.endpoints = e
	w.services[s.name] = s
	w.store.Put(0, w.slice(s, ipv4), w.slice(s, ipv6))
	return w.build(s.name)
}

// delete deletes a Service or a route, if it is there.
func (w *world) delete(name string) error {
	if _, ok := w.routes[name]; ok {
		delete(w.routes, name)
		return w.putRoute(route{name: name})
	}
	delete(w.services, name)
	w.store.Delete(0, deletions(name)...)
	return w.build(name)
}

// deletions are the objects of a Service.
func deletions(name string) []cluster.Ref {
	return []cluster.Ref{
		{Kind: cluster.KindService, Key: key(name)},
		{Kind: cluster.KindSlice, Key: sliceKey(name, ipv4)}, {Kind: cluster.KindSlice, Key: sliceKey(name, ipv6)},
	}
}

// build brings a Service from the store to the dataplanes.
func (w *world) build(name string) error {
	var errs []error
	for _, p := range w.proxies {
		errs = append(errs, p.set(key(name), vip.Build(w.store.Service(key(name).Namespace, name), p.self)))
	}
	return errors.Join(errs...)
}

// putRoute makes a frontend without a Service; without a protocol there is none.
func (w *world) putRoute(r route) error {
	var errs []error
	for i, p := range w.proxies {
		if r.protocol == 0 {
			errs = append(errs, p.set(key(r.name), nil))
			continue
		}
		w.routes[r.name] = r
		errs = append(errs, p.set(key(r.name), w.routesOf(r, i)))
	}
	return errors.Join(errs...)
}

// freshTable is the table of a node, made anew from what there is.
func (w *world) freshTable(node int) *vip.Table {
	t := vip.NewTable()
	for name := range w.services {
		t.Set(key(name), vip.Build(w.store.Service(key(name).Namespace, name), w.proxies[node].self))
	}
	for name, r := range w.routes {
		t.Set(key(name), w.routesOf(r, node))
	}
	return t
}

func (w *world) object(s service) *cluster.Service {
	o := &cluster.Service{
		Key: key(s.name), Created: s.created, External: &cluster.External{},
		InternalLocal: s.internalLocal, ExternalLocal: s.externalLocal,
	}
	o.External.Affinity = s.affinity
	for _, f := range s.families {
		for _, name := range s.at {
			a := w.addr(name, f)
			switch kinds[kindOf(name)] {
			case vip.ClusterIP:
				o.ClusterIPs = append(o.ClusterIPs, a)
			case vip.ExternalIP:
				o.External.IPs = append(o.External.IPs, a)
			case vip.LoadBalancer:
				o.External.LB = append(o.External.LB, a)
				if slices.Contains(strings.Split(s.proxied, ","), name) {
					o.External.Proxied = append(o.External.Proxied, a)
				}
			}
		}
	}
	for name := range strings.SplitSeq(s.takes, ",") {
		for _, f := range w.families() {
			if name != "" && slices.Contains(s.families, f) {
				o.External.IPs = append(o.External.IPs, w.addr(name, f))
			}
		}
	}
	for name := range strings.SplitSeq(s.sources, ",") {
		if n, ok := sourceNetworks[name]; ok {
			o.External.Sources = append(o.External.Sources, n[0], n[1])
		}
	}
	for _, p := range s.ports {
		o.Ports = append(o.Ports, cluster.ServicePort{Name: p.name, Number: p.number, NodePort: p.nodePort, Protocol: p.protocol})
		if p.nodePort != 0 {
			o.Type = cluster.NodePort
		}
	}
	if len(o.External.LB) > 0 {
		o.Type = cluster.LoadBalancer
	}
	return o
}

func sliceKey(service string, f family) cluster.Key { return key(service + "-" + f.String()) }

// slice are the endpoints of a Service in one family.
func (w *world) slice(s service, f family) *cluster.Slice {
	var ports []cluster.Port
	for _, p := range s.ports {
		ports = append(ports, cluster.Port{Name: p.name, Number: p.target, Protocol: p.protocol})
	}
	var list []cluster.Endpoint
	for _, ep := range s.endpoints.list {
		if slices.Contains(w.families(), f) {
			list = append(list, ep.in(w, f))
		}
	}
	return cluster.NewSlice(sliceKey(s.name, f), key(s.name), 0, ports, list)
}

func sortBackends(list []vip.Backend) {
	slices.SortFunc(list, func(a, b vip.Backend) int { return a.Compare(b.AddrPort) })
}

// entry is the node whose dataplane meets a packet first.
func entry(from string, to destination) int {
	if n := home(to.host); n >= 0 && isNode(to.host) {
		return n
	}
	return max(home(from), 0)
}

// sees is the address of a client that a backend should see.
func (w *world) sees(q question, a answer) netip.Addr {
	if !a.masquerade {
		return w.kept(q)
	}
	n := entry(q.from, q.to)
	if isPod(a.from.host) && home(a.from.host) == n {
		return w.bridge(n, q.family)
	}
	return addrOf(w.lab.Nodes[n].Host, q.family)
}

// kept is the address that a client uses.
func (w *world) kept(q question) netip.Addr {
	if q.to.host == localhost {
		return loopback[q.family]
	}
	return w.addr(q.from, q.family)
}
