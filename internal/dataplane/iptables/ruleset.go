package iptables

import (
	"maps"
	"slices"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// A ruleset is what one family should have: the routes by group and the rules made of them.
type ruleset struct {
	v4      bool
	host    *dataplane.Host
	liberal bool // the kernel forwards what it takes for no part of a flow
	routes  map[group]map[vip.Frontend]*vip.Route
	pieces  map[group]piece
	count   tally
}

func newRuleset(h *dataplane.Host, v4, liberal bool) *ruleset {
	s := &ruleset{v4, h, liberal, map[group]map[vip.Frontend]*vip.Route{}, map[group]piece{}, tally{}}
	for c, rules := range fixed(h, v4, liberal) {
		s.count[c.table] += len(rules)
	}
	return s
}

// change takes routes in and out, and returns the groups that this concerns with the
// pieces that they had.
func (s *ruleset) change(changes []vip.Change) map[group]piece {
	was := map[group]piece{}
	touch := func(r *vip.Route) map[vip.Frontend]*vip.Route {
		g := groupOf(r)
		if _, seen := was[g]; !seen {
			was[g] = s.pieces[g]
		}
		if s.routes[g] == nil {
			s.routes[g] = map[vip.Frontend]*vip.Route{}
		}
		return s.routes[g]
	}
	for _, c := range changes {
		if c.Addr.Is4() != s.v4 {
			continue
		}
		if c.Old != nil {
			delete(touch(c.Old), c.Frontend)
		}
		if c.New != nil {
			touch(c.New)[c.Frontend] = c.New
		}
	}
	for g, old := range was {
		s.count.piece(old, -1)
		if len(s.routes[g]) == 0 {
			delete(s.routes, g)
			delete(s.pieces, g)
			continue
		}
		routes := slices.SortedFunc(maps.Values(s.routes[g]), func(a, b *vip.Route) int { return a.Compare(b.Frontend) })
		s.pieces[g] = render(s.host, g, routes)
		s.count.piece(s.pieces[g], 1)
	}
	return was
}

// tables is the whole of it, as iptables-save would list our chains: for each its rules. The
// fixed rules of shared chains come last.
func (s *ruleset) tables() map[chain][]string {
	all := s.shared()
	for _, p := range s.pieces {
		maps.Copy(all, p.chains)
	}
	return all
}

// shared is the part of tables that does not belong to a Service port alone.
func (s *ruleset) shared() map[chain][]string {
	all := map[chain][]string{}
	for _, p := range s.pieces {
		for c, entries := range p.entries {
			all[c] = append(all[c], entries...)
		}
	}
	for _, rules := range all {
		slices.Sort(rules)
	}
	for c, rules := range s.fixed() {
		all[c] = append(all[c], rules...)
	}
	return all
}

// fixed are the chains and rules that there are with any table.
func (s *ruleset) fixed() map[chain][]string { return fixed(s.host, s.v4, s.liberal) }

// jumps lead to the shared chains.
func (s *ruleset) jumps() []jump { return jumps(s.host.NodePortLoopback && s.v4) }

// repair is the script that makes what is there what want says, which is tables or shared.
func (s *ruleset) repair(there listing, want map[chain][]string) script {
	return repair(there, want, s.jumps(), s.fixed())
}
