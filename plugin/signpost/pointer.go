package signpost

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// ptrPolicy says which endpoints have a name that their address leads back to. A
// ClusterIP always has: the one of its Service.
type ptrPolicy uint8

const (
	ptrAll      ptrPolicy = iota // below each Service that they serve, as the peer has it
	ptrHeadless                  // below headless Services only: what the specification asks for
	ptrHostname                  // of those only the ones with a hostname of their own
	ptrServices                  // none
)

// names reports whether a ready endpoint of a Service has such a name below it.
func (p ptrPolicy) names(kind nodeKind, ep *cluster.Endpoint) bool {
	switch p {
	case ptrAll:
		return true
	case ptrHeadless:
		return kind == headless
	case ptrHostname:
		return kind == headless && ep.Hostname != ""
	}
	return false
}

// hasPointer reports whether any name points back from the address.
func (s *Signpost) hasPointer(a netip.Addr) bool {
	for o := s.store.Owners(a); o.Valid(); o = o.Next() {
		e := o.Entry()
		kind := serviceKind(e)
		if kind != clusterIP && kind != headless {
			continue
		}
		if s.ptr == ptrAll || slices.Contains(e.Service.ClusterIPs, a) {
			return true
		}
		for ep := range e.ReadyAt(a) {
			if s.ptr.names(kind, ep) {
				return true
			}
		}
	}
	return false
}

// back is one endpoint that an address leads back to, and its Service.
type back struct {
	entry    *cluster.Entry
	endpoint *cluster.Endpoint
}

// pointers returns the names that an address has. A ClusterIP belongs to one
// Service and has one. An endpoint has one below each Service that it serves, and
// several endpoints of a Service may have the address. They come in an order that all
// replicas agree on, for many clients read the first only: what a pod calls itself comes first.
func (s *Signpost) pointers(a netip.Addr) []string {
	var room [2]back
	list := room[:0]
	for o := s.store.Owners(a); o.Valid(); o = o.Next() {
		e := o.Entry()
		kind := serviceKind(e)
		if kind != clusterIP && kind != headless {
			continue
		}
		if slices.Contains(e.Service.ClusterIPs, a) {
			return fitting(s.serviceName(e.Service.Key))
		}
		for ep := range e.ReadyAt(a) {
			if s.ptr.names(kind, ep) {
				list = append(list, back{e, ep})
			}
		}
	}
	if len(list) > 1 {
		slices.SortFunc(list, compareBacks)
		list = slices.CompactFunc(list, func(x, y back) bool { return compareBacks(x, y) == 0 })
	}
	names := make([]string, len(list))
	for i, b := range list {
		names[i] = endpointLabel(b.endpoint) + "." + s.serviceName(b.entry.Service.Key)
	}
	if names = fitting(names...); s.ptrSingle && len(names) > 1 {
		names = names[:1]
	}
	return names
}

// fitting returns those of the names that fit.
func fitting(names ...string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !fits(name) })
}

// compareBacks puts hostnames below headless Services first, then headless
// Services, then the oldest one, then by name. It is 0 for two that have one name.
func compareBacks(a, b back) int {
	rank := func(x back) int {
		switch {
		case !x.entry.Service.Headless:
			return 2
		case x.endpoint.Hostname == "":
			return 1
		}
		return 0
	}
	x, y := a.entry.Service, b.entry.Service
	return cmp.Or(
		cmp.Compare(rank(a), rank(b)), cmp.Compare(x.Created, y.Created),
		cmp.Compare(x.Namespace, y.Namespace), cmp.Compare(x.Name, y.Name),
		cmp.Compare(a.endpoint.Hostname, b.endpoint.Hostname),
	)
}
