package agent

import (
	"maps"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// conflicts knows the frontends that more than one Service port wants, at the cost of
// the Service that changes.
type conflicts struct {
	contested map[vip.Frontend][]vip.Owner              // those who do not have it
	of        map[cluster.Key]map[vip.Frontend]struct{} // the contested frontends of each of these
}

func newConflicts() conflicts {
	return conflicts{map[vip.Frontend][]vip.Owner{}, map[cluster.Key]map[vip.Frontend]struct{}{}}
}

// conflict is a frontend that a Service port wants and another has.
type conflict struct {
	frontend      vip.Frontend
	winner, loser vip.Owner
}

// update looks at the frontends of a Service that was just set, and returns those who
// have lost one since.
func (c *conflicts) update(t *vip.Table, service cluster.Key, routes []*vip.Route, differ []vip.Change) []conflict {
	at := maps.Clone(c.of[service]) // what it claimed before and did not have
	if at == nil {
		at = map[vip.Frontend]struct{}{}
	}
	for _, r := range routes {
		at[r.Frontend] = struct{}{}
	}
	for _, d := range differ {
		at[d.Frontend] = struct{}{}
	}
	var fresh []conflict
	for f := range at {
		losers := t.Losers(f)
		for _, l := range losers {
			if !slices.Contains(c.contested[f], l) {
				fresh = append(fresh, conflict{f, t.Route(f).Owner, l})
			}
		}
		c.set(f, losers)
	}
	slices.SortFunc(fresh, func(a, b conflict) int { return a.frontend.Compare(b.frontend) })
	return fresh
}

func (c *conflicts) set(f vip.Frontend, losers []vip.Owner) {
	for _, l := range c.contested[f] {
		delete(c.of[l.Service], f)
		if len(c.of[l.Service]) == 0 {
			delete(c.of, l.Service)
		}
	}
	delete(c.contested, f)
	for _, l := range losers {
		if c.of[l.Service] == nil {
			c.of[l.Service] = map[vip.Frontend]struct{}{}
		}
		c.of[l.Service][f] = struct{}{}
		c.contested[f] = losers
	}
}
