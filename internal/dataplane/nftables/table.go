package nftables

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/vip"
)

// tableName is the name of our tables, in both families.
const tableName = "signpost"

// table is one of our tables in the kernel, and what we know to be in there.
type table struct {
	*layout
	c      *conn
	name   string
	handle uint64 // the kernel's number: a table that is made again has another

	orders   map[vip.Frontend]order     // slots, of frontends whose backends are not in the order of the route
	behind   map[vip.Frontend]installed // what the kernel has of frontends whose route it refused
	made     made                       // the groups and classes that are there
	hairpins map[netip.Addr]int         // pods of this node: how many backends they are
	elements map[*set]int               // how many elements each set has
}

func newTable(c *conn, l *layout, name string) *table {
	return &table{
		layout: l, c: c, name: name,
		orders: map[vip.Frontend]order{}, behind: map[vip.Frontend]installed{},
		made: newMade(), hairpins: map[netip.Addr]int{}, elements: map[*set]int{},
	}
}

// apply brings the table from the routes before the changes to those after. It
// fails with RouteErrors only if all else is done.
func (t *table) apply(ctx context.Context, changes []vip.Change) error {
	if len(changes) == 0 {
		return nil
	}
	before, need := map[netip.Addr]int{}, t.made.clone()
	for _, ch := range changes {
		t.use(ch.New, 1, before, need)
		t.use(ch.Old, -1, before, newMade())
	}
	if err := t.remake(need); err != nil {
		return err
	}
	w := newWriter(ctx, t)
	if err := w.add(unit{ops: t.hairpinOps(before, put)}); err != nil {
		return err
	}
	for _, ch := range changes {
		if err := t.change(w, ch); err != nil {
			return err
		}
	}
	if err := w.add(unit{ops: t.hairpinOps(before, drop)}); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	return w.refusals()
}

// change collects the operations of one change.
func (t *table) change(w *writer, ch vip.Change) error {
	have, late := t.behind[ch.Frontend]
	delete(t.behind, ch.Frontend)
	if !late && ch.Old != nil {
		have = t.before(ch.Old)
	}
	return t.replace(w, ch.Frontend, ch.Old, have, ch.New)
}

// replace collects the operations from what a frontend has to a route, which may
// be nil. If the kernel refuses, the new route is to blame, or else the old one.
func (t *table) replace(w *writer, f vip.Frontend, old *vip.Route, have installed, now *vip.Route) error {
	if now != nil {
		if err := t.check(now); err != nil {
			w.refuse(now, installed{}, err)
			old, now = now, nil
		}
	}
	want := t.route(now, have)
	delete(t.orders, f)
	if now == nil {
		now = old
	} else if len(want.slots) > 0 {
		if o := orderOf(want.slots[0].slots, now.Cluster); o != nil {
			t.orders[f] = o
		}
	}
	ops := t.ops(f, have, want)
	if len(ops) == 0 {
		return nil
	}
	return w.add(unit{route: now, have: have, ops: ops})
}

// before is what the table has for a route that it got as it should.
func (t *table) before(r *vip.Route) installed {
	have := t.route(r, installed{})
	if len(have.slots) > 0 {
		have.slots[0].slots = t.orders[r.Frontend].slots(r.Cluster)
	}
	return have
}

// use adds what a route needs to be made to m, and counts the pods that may reach
// themselves n times. It notes how often they were counted before.
func (t *table) use(r *vip.Route, n int, before map[netip.Addr]int, m made) {
	if r == nil || t.check(r) != nil {
		return
	}
	for _, pod := range t.need(r, m) {
		if _, ok := before[pod]; !ok {
			before[pod] = t.hairpins[pod]
		}
		t.hairpins[pod] += n
	}
}

// hairpinOps are the operations on the set of pods that may reach themselves: put
// those that are needed now and were not before, or drop those of the reverse.
func (t *table) hairpinOps(before map[netip.Addr]int, v verb) []op {
	var ops []op
	for _, addr := range slices.SortedFunc(maps.Keys(before), netip.Addr.Compare) {
		was := before[addr]
		if is := t.hairpins[addr]; v == put && was == 0 && is > 0 || v == drop && was > 0 && is == 0 {
			ops = append(ops, op{verb: v, set: t.hairpin, key: key{addr: addr}})
		}
		if v == drop && t.hairpins[addr] == 0 {
			delete(t.hairpins, addr)
		}
	}
	return ops
}

// count keeps the number of elements after a commit.
func (t *table) count(units []unit) {
	for _, u := range units {
		for i := range u.ops {
			switch u.ops[i].verb {
			case put:
				t.elements[u.ops[i].set]++
			case drop:
				t.elements[u.ops[i].set]--
			}
		}
	}
}
