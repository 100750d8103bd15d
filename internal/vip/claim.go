package vip

import (
	"math"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// What one Service may have on a node, whatever its objects say.
const (
	MaxBackends  = 1 << 16 // of a frontend
	MaxFrontends = 10_000  // of a Service
)

// Room is a number of frontends and of backends. A backend of several frontends counts
// once for each, because the nftables and IPVS modes write it once for each. So does a
// source range.
type Room struct{ Frontends, Backends int }

// AllRoom is no limit but that of the Service itself.
var AllRoom = Room{math.MaxInt, math.MaxInt}

// NodeRoom is what all Services together may have on a node. It fits into the memory limit
// of the manifests.
var NodeRoom = Room{Frontends: 1 << 18, Backends: 1 << 20}

// Claim is what a Service asks for. It follows from the Entry alone, so that it is the
// same on each node: it counts endpoints that are listed, ready or not.
type Claim struct {
	Room      // within MaxBackends and MaxFrontends
	Over Room // what is beyond these
}

// ClaimOf returns the claim of a Service. A nil Entry claims nothing.
func ClaimOf(e *cluster.Entry) (c Claim) {
	if !routed(e) {
		return c
	}
	for _, ip := range e.Service.ClusterIPs {
		out := outsideOf(e.Service, ip.Is4())
		for i := range e.Service.Ports {
			p := &e.Service.Ports[i]
			n, most := count(e, p, ip.Is4()), mostBackends(e.Service)
			inner := 1 // the ClusterIP, and the NodePort
			if p.NodePort != 0 {
				inner++
			}
			all := inner + out.ips + out.balancers
			kept := min(all, MaxFrontends-c.Frontends)
			if kept > 0 {
				copies := 1 + (kept-1)*copies(e.Service, ExternalIP)
				c.Backends += copies*min(n, most) + max(kept-inner-out.ips, 0)*out.ranges
				c.Over.Backends += copies * max(n-most, 0)
			}
			c.Frontends += kept
			c.Over.Frontends += all - kept
		}
	}
	return c
}

// Without returns what of a claim is left out by a room.
func (c Claim) Without(r Room) Room {
	return Room{
		Frontends: c.Over.Frontends + max(c.Frontends-r.Frontends, 0),
		Backends:  c.Over.Backends + max(c.Backends-r.Backends, 0),
	}
}

// routed reports whether a Service has frontends: a headless and an ExternalName Service
// have none.
func routed(e *cluster.Entry) bool {
	return e != nil && e.Service != nil && !e.Service.Headless && e.Service.Type != cluster.ExternalName
}

// count counts the endpoints of a port in one family.
func count(e *cluster.Entry, p *cluster.ServicePort, v4 bool) (n int) {
	for _, s := range e.Slices {
		if len(s.Endpoints) > 0 && s.Endpoints[0].Addr.Is4() == v4 && portOf(s, p) >= 0 {
			n += len(s.Endpoints)
		}
	}
	return n
}

// portOf is the index of a Service port in a slice, or -1.
func portOf(s *cluster.Slice, p *cluster.ServicePort) int {
	return slices.IndexFunc(s.Ports, func(sp cluster.Port) bool { return sp.Protocol == p.Protocol && sp.Name == p.Name })
}

// mostBackends is MaxBackends, or one less with affinity: a backend that is remembered has
// a number, and 0 is none.
func mostBackends(s *cluster.Service) int {
	if s.External != nil && s.External.Affinity != 0 {
		return MaxBackends - 1
	}
	return MaxBackends
}

// outsideCounts counts what a Service asks for outside of its ClusterIP in one family.
type outsideCounts struct {
	ips, balancers int // addresses, each a frontend of every port
	ranges         int // networks that each frontend of a load balancer may have
}

func outsideOf(s *cluster.Service, v4 bool) (c outsideCounts) {
	x := s.External
	if x == nil {
		return c
	}
	for _, a := range x.IPs {
		if a.Is4() == v4 {
			c.ips++
		}
	}
	for _, a := range x.LB {
		if a.Is4() == v4 && !slices.Contains(x.Proxied, a) {
			c.balancers++
		}
	}
	for _, p := range x.Sources {
		if p.Addr().Is4() == v4 {
			c.ranges++
		}
	}
	if c.ranges > 0 {
		c.ranges += c.balancers // see builder.sources
	}
	return c
}

// copies is how many sets of backends a frontend of that kind may have.
func copies(s *cluster.Service, k Kind) int {
	if s.ExternalLocal && k != ClusterIP {
		return 2
	}
	return 1
}

// take takes the room for a frontend of a port that lists n endpoints, and returns the
// endpoints that fit: the first by address. Every node leaves out the same. A frontend whose
// source ranges do not fit has no room: without them it would let in everybody.
func (b *builder) take(k Kind, n int, c choice) (fits choice, ok bool) {
	ranges := 0
	if k == LoadBalancer {
		ranges = b.out.ranges
	}
	if b.full() || b.room.Backends < ranges {
		return c, false
	}
	b.room.Frontends--
	b.room.Backends -= ranges
	sets := copies(b.entry.Service, k)
	most := min(n, mostBackends(b.entry.Service), max(b.room.Backends/sets, 0))
	b.room.Backends -= sets * most
	return choice{cluster: first(c.cluster, most), local: first(c.local, most)}, true
}

// full reports whether no frontend fits any more.
func (b *builder) full() bool { return b.room.Frontends <= 0 }

func first(list []Backend, most int) []Backend {
	if most == 0 {
		return nil
	}
	return list[:min(len(list), most)]
}
