package nftables

import (
	"fmt"
	"slices"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// errNoAffinity is about a route that works without affinity, because all numbers are taken.
var errNoAffinity = fmt.Errorf("%w, without session affinity: %d Service ports have that, which is the most in mode nftables", dataplane.ErrInPart, maxOwners)

// errNoHash is about the same on a kernel that cannot hash addresses.
var errNoHash = fmt.Errorf("%w, without session affinity: the kernel has no nft_hash", dataplane.ErrInPart)

// limited returns routes as the table can have them: without affinity where their Owner gets
// no number. The errors say which these are.
func (t *table) limited(routes []*vip.Route) ([]*vip.Route, []error) {
	if t.roomFor(len(routes)) {
		return routes, nil
	}
	changes := make([]vip.Change, len(routes))
	for i, r := range routes {
		changes[i] = vip.Change{Frontend: r.Frontend, New: r}
	}
	changes, errs := t.limitedChanges(changes)
	if errs == nil {
		return routes, nil
	}
	routes = slices.Clone(routes)
	for i := range routes {
		routes[i] = changes[i].New
	}
	return routes, errs
}

// limitedChanges returns changes as the table can have them.
func (t *table) limitedChanges(changes []vip.Change) ([]vip.Change, []error) {
	if t.roomFor(len(changes)) {
		return changes, nil
	}
	changes = slices.Clone(changes)
	var errs []error
	var gone []ownerKey
	for i, ch := range changes {
		if t.remembered(ch.Old) && t.owners.without[keyOf(ch.Old)] > 0 {
			gone = append(gone, keyOf(ch.Old))
			changes[i].Old = withoutAffinity(ch.Old)
		}
	}
	for i, ch := range changes {
		if !t.remembered(ch.New) {
			continue
		}
		k := keyOf(ch.New)
		if t.owners.without[k] == 0 && t.owners.claim(k, 0, false) != nil {
			continue
		}
		t.owners.without[k]++
		changes[i].New = withoutAffinity(ch.New)
		err := errNoAffinity
		if t.owners.most == 0 {
			err = errNoHash
		}
		errs = append(errs, &dataplane.RouteError{Route: ch.New, Err: err})
	}
	for _, k := range gone {
		if t.owners.without[k]--; t.owners.without[k] == 0 {
			delete(t.owners.without, k)
		}
	}
	return changes, errs
}

// roomFor reports whether so many routes get numbers, whatever they are.
func (t *table) roomFor(routes int) bool {
	return len(t.owners.without) == 0 && len(t.owners.byNumber)+routes <= t.owners.most
}

// remembered reports whether clients of a route are to be remembered.
func (t *table) remembered(r *vip.Route) bool {
	if r == nil || r.Affinity == 0 {
		return false
	}
	g, ok := forwarding(r)
	return ok && g.affinity && t.check(r) == nil
}

func withoutAffinity(r *vip.Route) *vip.Route {
	n := *r
	n.Affinity = 0
	return &n
}
