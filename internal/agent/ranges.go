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

// enforceAfter is how long a ServiceCIDR must be free of overlaps before it is enforced again.
// Each change makes the dataplane compare all rules, and a tenant can add and remove an endpoint at any rate.
const enforceAfter = 10 * time.Minute

// ranges decides which ServiceCIDRs are not enforced: those that overlap a network of the
// host or contain an endpoint. An update costs as much as the changed Service is large.
type ranges struct {
	cidrs    []netip.Prefix
	networks []vip.Overlap // without endpoints
	inside   map[netip.Prefix]map[cluster.Key]netip.Addr
	open     map[netip.Prefix]*overlap // not enforced
}

// overlap explains why a ServiceCIDR is not enforced.
type overlap struct {
	with    vip.Network
	service cluster.Key // owner of the endpoint, if with is one
	until   time.Time   // end of the pause after the overlap; zero while it lasts
}

func newRanges() ranges {
	return ranges{inside: map[netip.Prefix]map[cluster.Key]netip.Addr{}, open: map[netip.Prefix]*overlap{}}
}

// Overlaps returns the ServiceCIDRs of a host that are not enforced because of its networks
// or of any endpoint in the Store.
func Overlaps(h *dataplane.Host, s *cluster.Store) []vip.Overlap {
	r := newRanges()
	r.follow(h, s)
	return r.decide(time.Time{}, slog.New(slog.DiscardHandler))
}

// follow adopts the facts about a host. If the ServiceCIDRs changed, it checks the endpoints of
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

// update checks the endpoints of a Service; e is nil if the Service is gone.
func (r *ranges) update(service cluster.Key, e *cluster.Entry) {
	for _, c := range r.cidrs {
		if a := endpointIn(e, c); a.IsValid() {
			r.inside[c][service] = a
		} else {
			delete(r.inside[c], service)
		}
	}
}

// endpointIn returns an endpoint inside a network, or the zero Addr.
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

// decide returns the ServiceCIDRs that are not enforced, and logs the differences from the
// previous call.
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
				log.Warn("a ServiceCIDR overlaps addresses in use: packets to its unused addresses are not dropped",
					"serviceCIDR", c.String(), "overlaps", is.with.String(), "service", is.service.String())
			}
			r.open[c] = is
		case was != nil && was.until.IsZero():
			was.until = now.Add(enforceAfter)
		case was != nil && !now.Before(was.until):
			delete(r.open, c)
			log.Info("a ServiceCIDR no longer overlaps addresses in use: packets to its unused addresses are dropped again", "serviceCIDR", c.String())
		}
		if o := r.open[c]; o != nil {
			list = append(list, vip.Overlap{CIDR: c, With: o.with})
		}
	}
	return list
}

// reason returns why a ServiceCIDR must not be enforced now, or nil. While the named endpoint
// exists, it keeps naming the same one.
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

// inUse returns the networks that a host uses: pod networks, connected networks, and the
// addresses of its Node object, which may be nil.
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

// enforce recomputes which ServiceCIDRs are enforced, and reports whether the dataplane
// needs a sync.
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
