package vip

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// Table is every frontend of this node with its policy and backends: the desired
// state. Several Services may claim one frontend. The claim that stands first has it
// (see precedes), and the next one gets it when that is gone. A Service has its
// ClusterIP alone: external addresses of other Services that are equal to it wait, at
// every port.
// The zero Table is not ready: use NewTable. Not safe for concurrent use.
type Table struct {
	claims    map[Frontend][]*Route // in the order of precedes
	byService map[cluster.Key][]*Route
	outside   map[netip.Addr]map[Frontend]int // how many claims of external kinds a frontend has
}

// NewTable returns an empty Table.
func NewTable() *Table {
	return &Table{
		claims: map[Frontend][]*Route{}, byService: map[cluster.Key][]*Route{}, outside: map[netip.Addr]map[Frontend]int{},
	}
}

// Change is what differs at one frontend. Old is nil if it is new, New if it is gone.
type Change struct {
	Frontend
	Old, New *Route
}

// Set makes routes the frontends of a Service; none removes it. It returns the
// changes in the order of Frontend.Compare. The cost is that of this Service.
func (t *Table) Set(service cluster.Key, routes []*Route) []Change {
	return t.replace(service, t.byService[service], routes, routes)
}

// replace replaces some routes of a Service, which has all of those then.
func (t *Table) replace(service cluster.Key, from, to, all []*Route) []Change {
	before := map[Frontend]*Route{}
	for _, list := range [][]*Route{from, to} {
		for _, r := range list {
			before[r.Frontend] = t.Route(r.Frontend)
		}
	}
	t.beforeOwnerChange(from, to, before)
	for _, r := range from {
		t.withdraw(r)
	}
	for _, r := range to {
		t.claim(r)
	}
	if len(all) == 0 {
		delete(t.byService, service)
	} else {
		t.byService[service] = all
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

// beforeOwnerChange adds the external frontends of an address whose cluster IP may get
// another owner.
func (t *Table) beforeOwnerChange(from, to []*Route, before map[Frontend]*Route) {
	comes := map[Frontend]bool{}
	for _, r := range to {
		if r.Kind == OtherPorts {
			comes[r.Frontend] = true
		}
	}
	note := func(a netip.Addr) {
		for f := range t.outside[a] {
			before[f] = t.Route(f)
		}
	}
	for _, r := range from {
		if r.Kind != OtherPorts {
			continue
		}
		if !comes[r.Frontend] || len(t.claims[r.Frontend]) > 1 {
			note(r.Addr)
		}
		delete(comes, r.Frontend)
	}
	for f := range comes {
		note(f.Addr)
	}
}

// rank orders the kinds of claims of one frontend. The API server gives a ClusterIP to
// one Service only, a controller assigns the address of a load balancer, and whoever
// may create a Service can list any address as external. NodePorts and health check
// ports are allocated from one range, so that age decides between them.
var rank = [Kinds]int{ClusterIP: 0, OtherPorts: 0, LoadBalancer: 1, ExternalIP: 2, NodePort: 3, HealthCheck: 3}

// isOutside reports whether a Service gets addresses of the kind without an allocation.
func (k Kind) isOutside() bool { return k == ExternalIP || k == LoadBalancer }

// precedes orders the claims of one frontend: by kind, then by age, then by name, so
// that every node decides alike.
func precedes(a, b *Route) int {
	return cmp.Or(
		cmp.Compare(rank[a.Kind], rank[b.Kind]),
		cmp.Compare(a.Created, b.Created),
		cmp.Compare(a.Owner.Service.Namespace, b.Owner.Service.Namespace),
		cmp.Compare(a.Owner.Service.Name, b.Owner.Service.Name),
		cmp.Compare(a.Owner.Port, b.Owner.Port),
		cmp.Compare(a.Kind, b.Kind),
	)
}

func (t *Table) claim(r *Route) {
	list := t.claims[r.Frontend]
	at, _ := slices.BinarySearchFunc(list, r, precedes)
	t.claims[r.Frontend] = slices.Insert(list, at, r)
	if r.Kind.isOutside() {
		if t.outside[r.Addr] == nil {
			t.outside[r.Addr] = map[Frontend]int{}
		}
		t.outside[r.Addr][r.Frontend]++
	}
}

func (t *Table) withdraw(r *Route) {
	list := slices.DeleteFunc(t.claims[r.Frontend], func(o *Route) bool { return o == r })
	if len(list) == 0 {
		delete(t.claims, r.Frontend)
	} else {
		t.claims[r.Frontend] = list
	}
	if !r.Kind.isOutside() {
		return
	}
	at := t.outside[r.Addr]
	if at[r.Frontend]--; at[r.Frontend] == 0 {
		delete(at, r.Frontend)
	}
	if len(at) == 0 {
		delete(t.outside, r.Addr)
	}
}

// waits reports whether the first claim of a frontend does not have it because the
// address is the ClusterIP of another Service.
func (t *Table) waits(first *Route) bool {
	if !first.Kind.isOutside() {
		return false
	}
	owner := t.claims[Frontend{Addr: first.Addr}]
	return len(owner) > 0 && owner[0].Owner.Service != first.Owner.Service
}

// Route returns what has the frontend, or nil.
func (t *Table) Route(f Frontend) *Route {
	if list := t.claims[f]; len(list) > 0 && !t.waits(list[0]) {
		return list[0]
	}
	return nil
}

// Winner returns the route for which claims of a frontend lose: what has the frontend,
// or else what has the rest of its address.
func (t *Table) Winner(f Frontend) *Route {
	if r := t.Route(f); r != nil {
		return r
	}
	return t.Route(Frontend{Addr: f.Addr})
}

// Losers returns the Service ports that claim the frontend and do not have it.
func (t *Table) Losers(f Frontend) []Owner {
	var owners []Owner
	for i, r := range t.claims[f] {
		if i > 0 || t.waits(r) {
			owners = append(owners, r.Owner)
		}
	}
	return owners
}

// waiting are the external frontends that no Service has because their address is the
// ClusterIP of another one, sorted.
func (t *Table) waiting(a netip.Addr) []Frontend {
	var list []Frontend
	for f := range t.outside[a] {
		if t.Route(f) == nil {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, Frontend.Compare)
	return list
}

// Len counts the frontends that something has.
func (t *Table) Len() int {
	n := len(t.claims)
	for a := range t.outside {
		n -= len(t.waiting(a))
	}
	return n
}

// All yields what has each frontend, in no order.
func (t *Table) All() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		for _, list := range t.claims {
			if !t.waits(list[0]) && !yield(list[0]) {
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
