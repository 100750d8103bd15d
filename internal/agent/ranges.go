package agent

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// enforceAfter is how long a ServiceCIDR must overlap nothing before it is enforced again. All
// rules are compared for it, and a tenant can make and remove an endpoint in there at any rate.
const enforceAfter = 10 * time.Minute

// ranges decides which ServiceCIDRs are not enforced: those that overlap a network of the
// host or have an endpoint in them. It follows endpoints at the cost of the Service that
// changes.
type ranges struct {
	cidrs    []netip.Prefix
	networks []vip.Overlap // without endpoints
	inside   map[netip.Prefix]map[cluster.Key]netip.Addr
	open     map[netip.Prefix]*overlap // that are not enforced
}

// overlap is why a ServiceCIDR is not enforced.
type overlap struct {
	with    vip.Network
	service cluster.Key // of an endpoint
	until   time.Time   // when it is enforced again; zero while the overlap lasts
}

func newRanges() ranges {
	return ranges{inside: map[netip.Prefix]map[cluster.Key]netip.Addr{}, open: map[netip.Prefix]*overlap{}}
}

// Overlaps returns the ServiceCIDRs of a host that are not enforced, by its networks and by
// all endpoints of a Store.
func Overlaps(h *dataplane.Host, s *cluster.Store) []vip.Overlap {
	r := newRanges()
	r.follow(h, s)
	return r.decide(time.Time{}, slog.New(slog.DiscardHandler))
}

// follow takes over what a host says. If the ServiceCIDRs are others, it looks at the endpoints of
// all Services.
func (r *ranges) follow(h *dataplane.Host, s *cluster.Store) {
	r.networks = h.Overlaps
	cidrs := h.ServiceCIDRs
	if !h.DropsUnused {
		cidrs = nil
	}
	if slices.Equal(cidrs, r.cidrs) {
		return
	}
	r.cidrs = cidrs
	clear(r.inside)
	for _, c := range cidrs {
		r.inside[c] = map[cluster.Key]netip.Addr{}
	}
	for e := range s.Services() {
		r.update(e.Service.Key, e)
	}
}

// update looks at the endpoints of a Service; e is nil if it is gone.
func (r *ranges) update(service cluster.Key, e *cluster.Entry) {
	for _, c := range r.cidrs {
		if a := endpointIn(e, c); a.IsValid() {
			r.inside[c][service] = a
		} else {
			delete(r.inside[c], service)
		}
	}
}

// endpointIn returns an endpoint in a network, or the zero Addr.
func endpointIn(e *cluster.Entry, c netip.Prefix) netip.Addr {
	if e != nil {
		for ep := range e.Endpoints() {
			if c.Contains(ep.Addr) {
				return ep.Addr
			}
		}
	}
	return netip.Addr{}
}

// decide returns the ServiceCIDRs that are not enforced, and logs what changed since the last
// time.
func (r *ranges) decide(now time.Time, log *slog.Logger) []vip.Overlap {
	for c := range r.open {
		if !slices.Contains(r.cidrs, c) {
			delete(r.open, c)
		}
	}
	var list []vip.Overlap
	for _, c := range r.cidrs {
		was, is := r.open[c], r.reason(c)
		switch {
		case is != nil:
			if was == nil || was.with != is.with && !(was.with.Use == is.with.Use && was.with.IsSingleIP() && is.with.IsSingleIP()) {
				log.Warn("a range of cluster IPs overlaps addresses in use: packets to its unused addresses are not dropped",
					"serviceCIDR", c.String(), "overlaps", is.with.String(), "service", is.service.String())
			}
			r.open[c] = is
		case was != nil && was.until.IsZero():
			was.until = now.Add(enforceAfter)
		case was != nil && !now.Before(was.until):
			delete(r.open, c)
			log.Info("a range of cluster IPs overlaps nothing any more: packets to its unused addresses are dropped again", "serviceCIDR", c.String())
		}
		if o := r.open[c]; o != nil {
			list = append(list, vip.Overlap{CIDR: c, With: o.with})
		}
	}
	return list
}

// reason returns why a ServiceCIDR must not be enforced now, or nil. Which of several endpoints
// it names stays the same while that endpoint is there.
func (r *ranges) reason(c netip.Prefix) *overlap {
	if i := slices.IndexFunc(r.networks, func(o vip.Overlap) bool { return o.CIDR == c }); i >= 0 {
		return &overlap{with: r.networks[i].With}
	}
	if was := r.open[c]; was != nil && r.inside[c][was.service] == was.with.Addr() && was.with.Use == vip.EndpointAddress {
		return &overlap{with: was.with, service: was.service}
	}
	for service, a := range r.inside[c] {
		return &overlap{with: vip.Network{Prefix: netip.PrefixFrom(a, a.BitLen()), Use: vip.EndpointAddress}, service: service}
	}
	return nil
}

// inUse are the networks that a host knows to be in use: those of pods, those that it is
// connected to, and addresses of its Node object, which may be nil.
func inUse(object *cluster.Node, pods vip.Pods, connected []node.Network) []vip.Network {
	var used []vip.Network
	add := func(p netip.Prefix, u vip.Use) { used = append(used, vip.Network{Prefix: p, Use: u}) }
	for _, p := range pods.CIDRs {
		add(p, vip.PodNetwork)
	}
	if object != nil {
		for _, p := range object.PodCIDRs {
			add(p, vip.PodNetwork)
		}
	}
	for _, n := range connected {
		add(n.Prefix, map[bool]vip.Use{true: vip.LinkRoute, false: vip.ConnectedNetwork}[n.Added])
	}
	if object != nil {
		for _, a := range object.Addrs {
			add(netip.PrefixFrom(a, a.BitLen()), vip.NodeAddress)
		}
	}
	return used
}

// enforce decides anew which ServiceCIDRs are enforced, and reports whether the dataplane
// must be given another host.
func (a *Agent) enforce() bool {
	host := a.host
	host.Overlaps = a.ranges.decide(time.Now(), a.Log)
	a.Metrics.notEnforced.Set(float64(len(host.Overlaps)))
	moved := !host.Equal(&a.host.Host)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.host = host
	return moved
}
