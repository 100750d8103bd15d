package cluster

import (
	"maps"
	"net/netip"
	"slices"
	"sort"
)

// twin is a Store done in the slow and obvious way: maps of what was put, and
// every answer worked out anew by loops over all of it.
type twin struct {
	services   map[Key]*Service
	slices     map[Key]twinSlice
	namespaces map[Key]bool
	pods       map[Key]*Pod
	nodes      map[Key]*Node
	cidrs      map[Key]*ServiceCIDR
	version    uint64
}

// twinSlice is what a slice was made from, untouched by NewSlice.
type twinSlice struct {
	key, service Key
	version      uint64
	ports        []Port
	endpoints    []Endpoint
}

func newTwin() *twin {
	return &twin{
		services:   map[Key]*Service{},
		slices:     map[Key]twinSlice{},
		namespaces: map[Key]bool{},
		pods:       map[Key]*Pod{},
		nodes:      map[Key]*Node{},
		cidrs:      map[Key]*ServiceCIDR{},
	}
}

// real makes the Slice for the Store, which gets endpoints of its own.
func (sl twinSlice) real() *Slice {
	return NewSlice(sl.key, sl.service, sl.version, sl.ports, slices.Clone(sl.endpoints))
}

func (w *twin) put(o any) {
	switch o := o.(type) {
	case *Service:
		w.services[o.Key] = o
	case twinSlice:
		w.slices[o.key] = o
	case *Namespace:
		w.namespaces[Key{Name: o.Name}] = true
	case *Pod:
		w.pods[o.Key] = o
	case *Node:
		w.nodes[Key{Name: o.Name}] = o
	case *ServiceCIDR:
		w.cidrs[Key{Name: o.Name}] = o
	}
}

func (w *twin) delete(r Ref) {
	switch r.Kind {
	case KindService:
		delete(w.services, r.Key)
	case KindSlice:
		delete(w.slices, r.Key)
	case KindNamespace:
		delete(w.namespaces, r.Key)
	case KindPod:
		delete(w.pods, r.Key)
	case KindNode:
		delete(w.nodes, r.Key)
	case KindServiceCIDR:
		delete(w.cidrs, r.Key)
	}
}

func (w *twin) empty(kind Kind) {
	switch kind {
	case KindService:
		clear(w.services)
	case KindSlice:
		clear(w.slices)
	case KindNamespace:
		clear(w.namespaces)
	case KindPod:
		clear(w.pods)
	case KindNode:
		clear(w.nodes)
	case KindServiceCIDR:
		clear(w.cidrs)
	}
}

func (w *twin) emptyIn(kind Kind, namespace string) {
	switch kind {
	case KindService:
		maps.DeleteFunc(w.services, func(k Key, _ *Service) bool { return k.Namespace == namespace })
	case KindSlice:
		maps.DeleteFunc(w.slices, func(k Key, _ twinSlice) bool { return k.Namespace == namespace })
	case KindPod:
		maps.DeleteFunc(w.pods, func(k Key, _ *Pod) bool { return k.Namespace == namespace })
	}
}

func (w *twin) count(kind Kind) int {
	return [kindCount]int{len(w.services), len(w.slices), len(w.namespaces), len(w.pods), len(w.nodes), len(w.cidrs)}[kind]
}

// exists says whether a namespace does: declared, or a Service lives in it.
func (w *twin) exists(namespace string) bool {
	for _, svc := range w.services {
		if svc.Namespace == namespace {
			return true
		}
	}
	return w.namespaces[Key{Name: namespace}]
}

// listing is one endpoint with its slice.
type listing struct {
	slice twinSlice
	ep    Endpoint
}

// listings gives what the slices of a Service amount to, by slice and address.
func (w *twin) listings(service Key) []listing {
	var all []listing
	for _, sl := range w.slices {
		if sl.service != service {
			continue
		}
		for _, ep := range sl.endpoints {
			all = append(all, listing{sl, ep})
		}
	}
	sort.SliceStable(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.slice.key != b.slice.key {
			return a.slice.key.Name < b.slice.key.Name
		}
		return a.ep.Addr.Less(b.ep.Addr)
	})
	received := slices.Clone(all)
	for i := range all {
		l := &all[i]
		moved := anyOf(received, func(o listing) bool { // the pod is in a newer slice
			newer := o.slice.version > l.slice.version || o.slice.version == l.slice.version && o.slice.key.Name > l.slice.key.Name
			return newer && l.ep.Pod != 0 && o.ep.Pod == l.ep.Pod && o.ep.Addr == l.ep.Addr && slices.Equal(o.slice.ports, l.slice.ports)
		})
		if moved {
			l.ep.Conditions = l.ep.Conditions&Additional | Superseded
		}
		if l.ep.Has(Ready) && anyOf(all[:i], func(o listing) bool { return o.ep.Addr == l.ep.Addr && o.ep.Has(Ready) }) {
			l.ep.Conditions |= Repeated
		}
	}
	return all
}

// clashing gives the addresses in more than one slice of a Service, and in how many.
func (w *twin) clashing(service Key) clashes {
	list := clashes{}
	for _, a := range worldAddrs() {
		for _, sl := range w.slices {
			if sl.service == service && slices.ContainsFunc(sl.endpoints, func(ep Endpoint) bool { return ep.Addr == a }) {
				list[a]++
			}
		}
		if list[a] < 2 {
			delete(list, a)
		}
	}
	return list
}

func anyOf(list []listing, f func(listing) bool) bool { return slices.ContainsFunc(list, f) }

// ready gives the addresses of a Service's ready endpoints.
func (w *twin) ready(service Key) map[netip.Addr]bool {
	set := map[netip.Addr]bool{}
	for _, l := range w.listings(service) {
		if l.ep.Has(Ready) {
			set[l.ep.Addr] = true
		}
	}
	return set
}

// owned gives each address and the Services that it belongs to.
func (w *twin) owned() map[netip.Addr][]Key {
	owned := map[netip.Addr][]Key{}
	for k, svc := range w.services {
		set := w.ready(k)
		for _, a := range svc.ClusterIPs {
			set[a] = true
		}
		for a := range set {
			owned[a] = append(owned[a], k)
		}
	}
	return owned
}

// podsAt gives the pods of a namespace that have an address.
func (w *twin) podsAt(namespace string, a netip.Addr) []*Pod {
	var found []*Pod
	for _, p := range w.pods {
		if p.Namespace == namespace && slices.Contains(p.Addrs, a) {
			found = append(found, p)
		}
	}
	return found
}
