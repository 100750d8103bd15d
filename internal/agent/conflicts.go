package agent

import (
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// conflicts tracks which frontends each Service claims without having them. An update costs
// as much as the changed Service is large.
type conflicts struct {
	lost      map[cluster.Key]map[vip.Frontend]struct{}
	contested map[vip.Frontend]int // number of Services that claim it without having it
}

func newConflicts() conflicts {
	return conflicts{map[cluster.Key]map[vip.Frontend]struct{}{}, map[vip.Frontend]int{}}
}

// conflict summarizes the frontends that a Service has lost since the last update.
type conflict struct {
	first         vip.Frontend
	winner, loser *vip.Route // of first
	frontends     int
}

// update processes the routes that a Service just set, and returns one conflict per
// Service that lost frontends, in the order of the first frontends.
func (c *conflicts) update(t *vip.Table, service cluster.Key, routes []*vip.Route, differ []vip.Change) []conflict {
	var fresh []*vip.Route
	for _, d := range differ { // other Services keep their claim when they lose a frontend
		if d.Old != nil && d.Old.Owner.Service != service && c.lose(d.Old) {
			fresh = append(fresh, d.Old)
		}
		if d.New != nil && d.New.Owner.Service != service {
			c.win(d.New.Owner.Service, d.Frontend)
		}
	}
	for _, r := range routes {
		if t.Route(r.Frontend) == r {
			c.win(service, r.Frontend)
		} else if c.lose(r) {
			fresh = append(fresh, r)
		}
	}
	return summed(t, fresh)
}

// keep forgets the lost frontends that a Service no longer claims: all except those of routes.
func (c *conflicts) keep(service cluster.Key, routes []*vip.Route) {
	if len(c.lost[service]) == 0 {
		return
	}
	claimed := make(map[vip.Frontend]struct{}, len(routes))
	for _, r := range routes {
		claimed[r.Frontend] = struct{}{}
	}
	for f := range c.lost[service] {
		if _, still := claimed[f]; !still {
			c.win(service, f)
		}
	}
}

// summed groups lost routes into one conflict per Service.
func summed(t *vip.Table, lost []*vip.Route) (list []conflict) {
	slices.SortStableFunc(lost, func(a, b *vip.Route) int { return a.Compare(b.Frontend) })
	place := map[cluster.Key]int{}
	for _, r := range lost {
		i, again := place[r.Owner.Service]
		if !again {
			i = len(list)
			place[r.Owner.Service] = i
			list = append(list, conflict{first: r.Frontend, winner: t.Winner(r.Frontend), loser: r})
		}
		list[i].frontends++
	}
	return list
}

// lose records that a Service claims a frontend without having it, and reports whether that is new.
func (c *conflicts) lose(r *vip.Route) bool {
	of := c.lost[r.Owner.Service]
	if _, known := of[r.Frontend]; known {
		return false
	}
	if of == nil {
		of = map[vip.Frontend]struct{}{}
		c.lost[r.Owner.Service] = of
	}
	of[r.Frontend] = struct{}{}
	c.contested[r.Frontend]++
	return true
}

// win records that a Service has a frontend or no longer claims it.
func (c *conflicts) win(service cluster.Key, f vip.Frontend) {
	of := c.lost[service]
	if _, lost := of[f]; !lost {
		return
	}
	if delete(of, f); len(of) == 0 {
		delete(c.lost, service)
	}
	if c.contested[f]--; c.contested[f] == 0 {
		delete(c.contested, f)
	}
}
