package nftables

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// spareName is the name of the table that serves while the other one is built anew.
const spareName = tableName + "-rebuild"

// desired is what a table is to be filled with.
type desired struct {
	host   dataplane.Host
	routes []*vip.Route // in the order in which they are installed from nothing
}

// syncTable makes one table what is desired. It adopts the one that is there, if
// that has the right layout. It fails with RouteErrors only if all else is done.
func (d *Dataplane) syncTable(ctx context.Context, l *layout, want desired) (*table, error) {
	found, err := d.conn.FindTable(ourTable(l.Family))
	if err != nil {
		return nil, err
	}
	t := d.newTable(l, tableName)
	if found == nil {
		err = d.install(ctx, t, want)
	} else {
		err = d.adopt(ctx, t, found, want)
	}
	if fatal(err) {
		return nil, d.explain(l.Family, err)
	}
	_, spareErr := d.conn.RemoveTable(nft.Table{Family: l.Family, Name: spareName})
	return t, errors.Join(err, spareErr)
}

// newTable returns a table as this kernel can have it.
func (d *Dataplane) newTable(l *layout, name string) *table {
	t := newTable(d.conn, l, name)
	if !d.can.hash {
		t.owners.most = 0
	}
	return t
}

// adopt takes over a table that is there, or builds it anew if its layout is another.
func (d *Dataplane) adopt(ctx context.Context, t *table, found *nft.TableInfo, want desired) error {
	why, have, err := d.examine(t, found)
	if err != nil {
		return err
	}
	if why == "" {
		return t.fill(ctx, want, have)
	}
	d.log.Info("building the rules anew", "table", t.id().String(), "reason", why)
	// Nobody should notice: the spare table serves while the other is away.
	if _, err := d.conn.RemoveTable(nft.Table{Family: t.Family, Name: spareName}); err != nil {
		return err
	}
	if err := d.install(ctx, d.newTable(t.layout, spareName), want); fatal(err) {
		return err
	}
	return d.install(ctx, t, want)
}

// examine takes over a table and says why it cannot be kept, or what is in it.
func (d *Dataplane) examine(t *table, found *nft.TableInfo) (why string, have *foundElements, err error) {
	ours := found.Flags == d.flags && (!d.owns() || found.Owner == d.conn.Port())
	switch {
	case ownedByOther(found, d.conn):
		return "", nil, inUse(t.id(), found)
	case !ours && !(d.owns() && orphan(found)):
		return "its flags are others", nil, nil
	case found.Comment != title:
		return fmt.Sprintf("its comment is %q, expected %q", found.Comment, title), nil, nil
	case !ours:
		tx := d.conn.Begin()
		tx.NewTable(t.id(), d.flags, title)
		if err := d.conn.Commit(tx); err != nil {
			return "", nil, err
		}
	}
	layout, err := findLayout(d.conn, t.id())
	if err != nil {
		return "", nil, err
	}
	made, why := t.difference(layout)
	if why != "" {
		return why, nil, nil
	}
	t.made, t.handle = made, found.Handle
	have, err = findElements(d.conn, t.layout, t.id(), made)
	return "", have, err
}

// install makes a table from nothing, in place of one of this name.
func (d *Dataplane) install(ctx context.Context, t *table, want desired) error {
	found, err := d.conn.FindTable(t.id())
	if err != nil {
		return err
	}
	tx := d.conn.Begin()
	if found != nil {
		tx.DeleteTable(t.id())
	}
	tx.NewTable(t.id(), d.flags, title)
	if err := t.changeLayout(tx, nil, t.made); err != nil {
		return err
	}
	if err := d.conn.CommitParts(tx); err != nil {
		return err
	}
	if found, err = d.conn.FindTable(t.id()); err != nil {
		return err
	}
	if found != nil {
		t.handle = found.Handle
	}
	return t.fill(ctx, want, newFound())
}

// fill writes what differs between what a table has and what is desired.
func (t *table) fill(ctx context.Context, want desired, have *foundElements) error {
	t.elements = have.count
	u := newUse()
	for _, r := range want.routes {
		if n, known := have.of(r.Frontend).owner(); known && t.remembered(r) {
			t.owners.claim(keyOf(r), n, true)
		}
	}
	routes, without := t.limited(want.routes)
	want.routes = routes
	for _, r := range want.routes {
		t.use(r, 1, u)
	}
	plan := t.adoptOwners(u, have)
	both := t.made.clone()
	both.add(u.need)
	if err := t.remake(both); err != nil {
		return err
	}
	w := newWriter(ctx, t)
	w.report(without)
	if err := t.fillHost(w, want.host, have); err != nil {
		return err
	}
	if err := w.add(unit{ops: plan.first}); err != nil {
		return err
	}
	if err := t.fillRoutes(w, want.routes, have); err != nil {
		return err
	}
	if err := w.add(unit{ops: append(dropMissing(t.hairpin, have.hairpin, t.hairpinKeys()), plan.last...)}); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	plan.done()
	return errors.Join(t.remake(u.need), w.refusals())
}

// adoptOwners takes over the numbers that the kernel knows, and plans to remove those
// that nobody wants.
func (t *table) adoptOwners(u *use, have *foundElements) plan {
	for o := range u.owners {
		if found, ok := have.owners[o.number]; ok {
			o.adopt(found)
		}
	}
	p := t.plan(u)
	for _, n := range slices.Sorted(maps.Keys(have.owners)) {
		if t.owners.byNumber[n] == nil {
			_, last := t.ownerOps(&owner{number: n, have: have.owners[n]}, newRemembered())
			p.last = append(p.last, last...)
		}
	}
	return p
}

// fillRoutes writes the frontends in the order of the routes, but the rests of addresses
// after all others, and removes those that are of no route.
func (t *table) fillRoutes(w *writer, routes []*vip.Route, have *foundElements) error {
	for _, rest := range []bool{false, true} {
		for _, r := range routes {
			if r.IsOtherPorts() != rest {
				continue
			}
			now := have.of(r.Frontend)
			delete(have.frontends, frontendKey(r.Frontend))
			if err := t.replace(w, r.Frontend, nil, now, r); err != nil {
				return err
			}
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(have.frontends), key.compare) { // the rests first
		if err := w.add(unit{ops: t.ops(t.frontend(k), *have.frontends[k], installed{})}); err != nil {
			return err
		}
	}
	return nil
}

// fillHost writes what depends on the host, and the pods that may reach themselves.
func (t *table) fillHost(w *writer, host dataplane.Host, have *foundElements) error {
	nodeAddrs := t.nodeAddrKeys(host)
	ops := t.fillNetworks(t.podCIDRs, have.podCIDRs, host.Pods.CIDRs)
	ops = append(ops, t.fillNetworks(t.serviceCIDRs, have.serviceCIDRs, host.Enforced())...)
	ops = append(ops, putMissing(t.nodeAddrs, have.nodeAddrs, nodeAddrs)...)
	ops = append(ops, dropMissing(t.nodeAddrs, have.nodeAddrs, nodeAddrs)...)
	ops = append(ops, putMissing(t.hairpin, have.hairpin, t.hairpinKeys())...)
	return w.add(unit{ops: ops})
}

// fillNetworks replaces what is in a set of networks if it differs: halves of intervals
// must not be mixed.
func (t *table) fillNetworks(s *set, have map[key]bool, networks []netip.Prefix) []op {
	want := map[key]bool{}
	for _, k := range intervals(t.Family, networks) {
		want[k] = true
	}
	if maps.Equal(want, have) {
		return nil
	}
	return append(dropMissing(s, have, nil), putMissing(s, nil, want)...)
}

func (t *table) hairpinKeys() map[key]bool {
	keys := map[key]bool{}
	for addr := range t.hairpins {
		keys[key{addr: addr}] = true
	}
	return keys
}

// putMissing are the operations that add what is wanted and not there.
func putMissing(s *set, have, want map[key]bool) []op {
	return missing(put, s, have, want)
}

// dropMissing are the operations that delete what is there and not wanted.
func dropMissing(s *set, have, want map[key]bool) []op {
	return missing(drop, s, want, have)
}

// missing does something to the keys that are in there and not in here, in order:
// the kernel takes the bounds of intervals no other way.
func missing(v verb, s *set, here, there map[key]bool) []op {
	var ops []op
	for k := range there {
		if !here[k] {
			ops = append(ops, op{verb: v, set: s, key: k})
		}
	}
	slices.SortFunc(ops, func(a, b op) int { return a.key.compare(b.key) })
	return ops
}

// frontend is the inverse of frontendKey.
func (t *table) frontend(k key) vip.Frontend {
	f := vip.Frontend{Addr: k.addr, Port: k.port}
	if !k.addr.IsValid() {
		f.Addr = anyNode(t.Family)
	}
	setProtocol(&f.Protocol, k.protocol)
	return f
}

// setProtocol sets a protocol whose type this package does not know by name.
func setProtocol[P ~uint8](p *P, number byte) { *p = P(number) }
