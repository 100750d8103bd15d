package agent

import (
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// conflicts knows which frontends each Service claims and does not have, at the cost of
// the Service that changes.
type conflicts struct {
	lost      map[cluster.Key]map[vip.Frontend]struct{}
	contested map[vip.Frontend]int // how many Services claim it and do not have it
}

func newConflicts() conflicts {
	return conflicts{map[cluster.Key]map[vip.Frontend]struct{}{}, map[vip.Frontend]int{}}
}

// conflict is what a Service claims in vain since the last update.
type conflict struct {
	first         vip.Frontend // of them all
	winner, loser *vip.Route   // of the first
	frontends     int
}

// update looks at frontends of a Service that were just set, and returns a conflict
// for each Service that has lost some, in the order of the first frontends.
func (c *conflicts) update(t *vip.Table, service cluster.Key, routes []*vip.Route, differ []vip.Change) []conflict {
	var fresh []*vip.Route
	for _, d := range differ { // those of other Services, which still claim what they had
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

// keep forgets what a Service claims no more: all but these routes.
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

// summed makes one conflict for each Service.
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

// lose notes that a Service claims a frontend in vain, and reports whether that is new.
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

// win notes that a Service has a frontend, or claims it no more.
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
