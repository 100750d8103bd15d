package traffic

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Everything matches any namespace, or any name of a Service, in a list of Services to count.
const Everything = "*"

// A place is an address and port that clients use: of a Service, or of this node.
type place struct {
	addr     netip.Addr
	protocol cluster.Protocol
	port     uint16
}

// A series identifies counters by the labels of their metrics.
type series struct {
	owner vip.Owner
	kind  vip.Kind
}

// A ledger maps the counted places to their series.
type ledger struct {
	services  map[cluster.Key]bool
	nodeAddrs []netip.Addr                // serve NodePorts
	nodePorts map[vip.Frontend]*vip.Route // counted NodePorts
	places    map[place]series
}

func newLedger(services []cluster.Key) *ledger {
	l := &ledger{services: map[cluster.Key]bool{}, nodePorts: map[vip.Frontend]*vip.Route{}, places: map[place]series{}}
	for _, s := range services {
		l.services[s] = true
	}
	return l
}

// counts reports whether the traffic of a route is counted.
func (l *ledger) counts(r *vip.Route) bool {
	if r == nil || r.Kind == vip.OtherPorts || r.Kind == vip.HealthCheck {
		return false
	}
	k := r.Owner.Service
	return l.services[k] || l.services[cluster.Key{Namespace: k.Namespace, Name: Everything}] ||
		l.services[cluster.Key{Namespace: Everything, Name: k.Name}] || l.services[cluster.Key{Namespace: Everything, Name: Everything}]
}

// change removes and adds routes, and returns the places whose series may have changed.
// Its cost depends on the changes only.
func (l *ledger) change(changes []vip.Change) []place {
	var touched []place
	for _, c := range changes {
		old, now := l.counts(c.Old), l.counts(c.New)
		if old {
			touched = append(touched, l.out(c.Old)...)
		}
		if now {
			touched = append(touched, l.in(c.New)...)
		}
	}
	return touched
}

// move sets the addresses that serve NodePorts, and returns the places that were added or
// removed.
func (l *ledger) move(nodeAddrs []netip.Addr) []place {
	if slices.Equal(nodeAddrs, l.nodeAddrs) {
		return nil
	}
	var ports []*vip.Route
	var touched []place
	for _, r := range l.nodePorts {
		ports = append(ports, r)
		touched = append(touched, l.out(r)...)
	}
	l.nodeAddrs = slices.Clone(nodeAddrs)
	for _, r := range ports {
		touched = append(touched, l.in(r)...)
	}
	return touched
}

// in adds a route. Another frontend of the same address takes precedence over a NodePort, as
// in the routing of packets.
func (l *ledger) in(r *vip.Route) []place {
	if r.IsNodePort() {
		l.nodePorts[r.Frontend] = r
	}
	list := l.placesOf(r)
	for _, p := range list {
		if had, taken := l.places[p]; !taken || had.kind == vip.NodePort || !r.IsNodePort() {
			l.places[p] = series{r.Owner, r.Kind}
		}
	}
	return list
}

func (l *ledger) out(r *vip.Route) []place {
	delete(l.nodePorts, r.Frontend)
	list := l.placesOf(r)
	for _, p := range list {
		if r.IsNodePort() && l.places[p].kind != vip.NodePort {
			continue
		}
		delete(l.places, p)
		if port := l.nodePortAt(p); port != nil {
			l.places[p] = series{port.Owner, port.Kind}
		}
	}
	return list
}

// nodePortAt returns the counted NodePort that is served at a place, or nil.
func (l *ledger) nodePortAt(p place) *vip.Route {
	if !slices.Contains(l.nodeAddrs, p.addr) {
		return nil
	}
	everywhere := vip.AnyNode6
	if p.addr.Is4() {
		everywhere = vip.AnyNode4
	}
	return l.nodePorts[vip.Frontend{Addr: everywhere, Port: p.port, Protocol: p.protocol}]
}

// placesOf returns the places at which clients reach a route.
func (l *ledger) placesOf(r *vip.Route) []place {
	if !r.IsNodePort() {
		return []place{{r.Addr, r.Protocol, r.Port}}
	}
	var list []place
	for _, a := range l.nodeAddrs {
		if a.Is4() == r.Addr.Is4() {
			list = append(list, place{a, r.Protocol, r.Port})
		}
	}
	return list
}
