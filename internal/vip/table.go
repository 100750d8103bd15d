package vip

import (
	"cmp"
	"iter"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Table is every frontend of this node with its policy and backends: the desired
// state. Several Services may claim one frontend (an external IP, a NodePort in a
// manifest); the oldest has it, and the next one gets it when that is gone.
// The zero Table is not ready: use NewTable. Not safe for concurrent use.
type Table struct {
	claims    map[Frontend][]*Route // the first has the frontend
	byService map[cluster.Key][]*Route
}

// NewTable returns an empty Table.
func NewTable() *Table {
	return &Table{claims: map[Frontend][]*Route{}, byService: map[cluster.Key][]*Route{}}
}

// Change is what differs at one frontend. Old is nil if it is new, New if it is gone.
type Change struct {
	Frontend
	Old, New *Route
}

// Set makes routes the frontends of a Service; none removes it. It returns the
// changes in the order of Frontend.Compare. The cost is that of this Service.
func (t *Table) Set(service cluster.Key, routes []*Route) []Change {
	before := map[Frontend]*Route{}
	for _, list := range [][]*Route{t.byService[service], routes} {
		for _, r := range list {
			before[r.Frontend] = t.Route(r.Frontend)
		}
	}
	for _, r := range t.byService[service] {
		t.withdraw(r)
	}
	for _, r := range routes {
		t.claim(r)
	}
	if len(routes) == 0 {
		delete(t.byService, service)
	} else {
		t.byService[service] = routes
	}
	var changes []Change
	for f, old := range before {
		now := t.Route(f)
		if old == now || old != nil && now != nil && old.equal(now) {
			continue
		}
		changes = append(changes, Change{f, old, now})
	}
	slices.SortFunc(changes, func(a, b Change) int { return a.Compare(b.Frontend) })
	return changes
}

// older orders claims: by age, then by name, so that every node decides alike.
func older(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(a.Created, b.Created),
		cmp.Compare(a.Owner.Service.Namespace, b.Owner.Service.Namespace),
		cmp.Compare(a.Owner.Service.Name, b.Owner.Service.Name),
		cmp.Compare(a.Owner.Port, b.Owner.Port),
		cmp.Compare(a.Kind, b.Kind),
	)
}

func (t *Table) claim(r *Route) {
	list := t.claims[r.Frontend]
	at, _ := slices.BinarySearchFunc(list, r, older)
	t.claims[r.Frontend] = slices.Insert(list, at, r)
}

func (t *Table) withdraw(r *Route) {
	list := slices.DeleteFunc(t.claims[r.Frontend], func(o *Route) bool { return o == r })
	if len(list) == 0 {
		delete(t.claims, r.Frontend)
	} else {
		t.claims[r.Frontend] = list
	}
}

// Route returns what has the frontend, or nil.
func (t *Table) Route(f Frontend) *Route {
	if list := t.claims[f]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// Losers returns the Service ports that claim the frontend and do not have it.
func (t *Table) Losers(f Frontend) []Owner {
	var owners []Owner
	for i, r := range t.claims[f] {
		if i > 0 {
			owners = append(owners, r.Owner)
		}
	}
	return owners
}

// Len counts the frontends.
func (t *Table) Len() int { return len(t.claims) }

// All yields what has each frontend, in no order.
func (t *Table) All() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		for _, list := range t.claims {
			if !yield(list[0]) {
				return
			}
		}
	}
}

// Additions are the changes that lead from an empty table to this one, in no order.
func (t *Table) Additions() []Change {
	all := make([]Change, 0, t.Len())
	for r := range t.All() {
		all = append(all, Change{Frontend: r.Frontend, New: r})
	}
	return all
}

// Services yields the Services that have or claim frontends, in no order.
func (t *Table) Services() iter.Seq[cluster.Key] {
	return func(yield func(cluster.Key) bool) {
		for k := range t.byService {
			if !yield(k) {
				return
			}
		}
	}
}
