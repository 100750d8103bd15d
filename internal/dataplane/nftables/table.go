package nftables

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// tableName is the name of our tables, in both families.
const tableName = "signpost"

// ourTable names our table of a family.
func ourTable(f *nft.Family) nft.Table { return nft.Table{Family: f, Name: tableName} }

// table is one of our tables in the kernel, and what we know to be in there.
type table struct {
	*layout
	c      *nft.Conn
	name   string
	handle uint64 // the kernel's number: a table that is made again has another

	orders     map[orderKey]order         // slots, of backends that are not in the order of the route
	behind     map[vip.Frontend]installed // what the kernel has of frontends whose route it refused
	made       made                       // what was made on demand
	hairpins   map[netip.Addr]int         // pods of this node: how many backends they are
	owners     owners                     // whose clients are remembered
	elements   map[*set]int               // how many elements each set has
	timeouts   map[uint32]int             // how many frontends have them, in seconds
	unfinished []*remainder               // what Apply has left, the oldest first
	idle       int                        // how often something was seen that is not needed
}

// orderKey is a frontend and one of its sets of backends.
type orderKey struct {
	vip.Frontend
	set vip.Set
}

func newTable(c *nft.Conn, l *layout, name string) *table {
	return &table{
		layout: l, c: c, name: name,
		orders: map[orderKey]order{}, behind: map[vip.Frontend]installed{},
		made: newMade(), hairpins: map[netip.Addr]int{}, owners: newOwners(maxOwners), elements: map[*set]int{}, timeouts: map[uint32]int{},
	}
}

// id names the table.
func (t *table) id() nft.Table { return nft.Table{Family: t.Family, Name: t.name} }

// apply brings the table from the routes before the changes to those after. It
// fails with RouteErrors only if all else is done. A frontend that is too large for one transaction
// leaves a remainder.
func (t *table) apply(ctx context.Context, changes []vip.Change) error {
	changes, without := t.limitedChanges(changes)
	u := t.useOf(changes)
	about := touch(changes, u)
	late := t.finishFor(ctx, about)
	if fatal(late) {
		return late
	}
	plan := t.plan(u)
	need := t.made.clone()
	need.add(u.need)
	if err := t.remake(need); err != nil {
		return err
	}
	w := newWriter(ctx, t)
	w.once = true
	w.report(without)
	if err := t.collect(w, u, plan, changes); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	if len(w.left) == 0 {
		plan.done()
	} else {
		t.unfinished = append(t.unfinished, &remainder{about, w.left, plan.done})
	}
	return errors.Join(late, w.refusals())
}

// useOf counts what changes use.
func (t *table) useOf(changes []vip.Change) *use {
	u := newUse()
	for _, ch := range changes {
		t.use(ch.New, 1, u)
		t.use(ch.Old, -1, u)
	}
	return u
}

// collect collects the operations of changes.
func (t *table) collect(w *writer, u *use, plan plan, changes []vip.Change) error {
	if err := w.add(unit{ops: append(t.hairpinOps(u.pods, put), plan.first...)}); err != nil {
		return err
	}
	for _, pass := range []int{comes, restChanges, goes} {
		for _, ch := range changes {
			if passOf(ch) == pass {
				if err := t.change(w, ch); err != nil {
					return err
				}
			}
		}
	}
	return w.add(unit{ops: append(t.hairpinOps(u.pods, drop), plan.last...)})
}

// The passes of apply: the rest of an address must not be refused while one of its
// frontends is missing.
const (
	comes = iota
	restChanges
	goes
)

func passOf(ch vip.Change) int {
	switch {
	case ch.IsOtherPorts():
		return restChanges
	case ch.New == nil:
		return goes
	}
	return comes
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
	want := t.route(now, t.number(now), have)
	for _, s := range sets {
		delete(t.orders, orderKey{f, s})
	}
	if now == nil {
		now = old
	} else {
		for _, p := range want.slots {
			s := p.set.class.path.set
			if o := orderOf(p.slots, now.Backends(s)); o != nil {
				t.orders[orderKey{f, s}] = o
			}
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
	have := t.route(r, t.number(r), installed{})
	for i, p := range have.slots {
		s := p.set.class.path.set
		have.slots[i].slots = t.orders[orderKey{r.Frontend, s}].slots(r.Backends(s))
	}
	return have
}

// number is that of a route's Owner, 0 if it has none.
func (t *table) number(r *vip.Route) uint16 {
	if r == nil || r.Affinity == 0 {
		return 0
	}
	if o := t.owners.byKey[keyOf(r)]; o != nil {
		return o.number
	}
	return 0
}

// use is what changes need besides their frontends.
type use struct {
	need   made
	pods   map[netip.Addr]int // how often those that may reach themselves were counted before
	owners map[*owner]bool    // that the changes touch
}

func newUse() *use { return &use{newMade(), map[netip.Addr]int{}, map[*owner]bool{}} }

// use counts what a route uses n times: 1 if it comes, -1 if it goes.
func (t *table) use(r *vip.Route, n int, u *use) {
	if r == nil || t.check(r) != nil {
		return
	}
	m := u.need
	if n < 0 {
		m = newMade()
	}
	for _, pod := range t.need(r, m) {
		if _, ok := u.pods[pod]; !ok {
			u.pods[pod] = t.hairpins[pod]
		}
		t.hairpins[pod] += n
	}
	if g, ok := forwarding(r); ok && g.affinity {
		t.timeouts[roundedUp(r.Affinity)] += n
		o := t.owners.claim(keyOf(r), 0, false)
		o.use(r, n)
		u.owners[o] = true
	}
}

// plan is what happens to Owners before and after their frontends change.
type plan struct {
	first, last []op
	done        func() // once it is in the kernel
}

// plan settles the Owners that changes touch, and adds what they need to be made.
func (t *table) plan(u *use) plan {
	var p plan
	wanted := map[*owner]remembered{}
	for _, o := range slices.SortedFunc(maps.Keys(u.owners), func(a, b *owner) int { return cmp.Compare(a.number, b.number) }) {
		want := o.settle()
		for c := range want.slots {
			u.need.classes[c] = true
		}
		first, last := t.ownerOps(o, want)
		p.first, p.last = append(p.first, first...), append(p.last, last...)
		wanted[o] = want
	}
	p.done = func() {
		for o, want := range wanted {
			o.have = want
			if o.routes == 0 {
				t.owners.release(o)
			}
		}
	}
	return p
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
