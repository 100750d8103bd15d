package nftables

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// TestOwnersAreBounded: where all numbers are taken a route works without affinity, its error says so, and it gets
// affinity when there is room.
func TestOwnersAreBounded(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	mustSync(t, d, vip.NewTable())
	for _, tab := range d.tables {
		tab.owners.most = 3
	}
	table := vip.NewTable()
	sticky := func(i, backends int) []vip.Change {
		return table.Set(service(i), everyRoute(i, backends, 10800))
	}
	for i := range 3 {
		mustApply(t, d, sticky(i, 5))
	}
	err := applyAll(d, sticky(3, 5))
	if routes := routesIn(t, err); len(routes) != 3 || routes[0] != service(3).String()+":http" {
		t.Fatalf("errors about %v, want the 3 frontends of service-3: %v", routes, err)
	}
	without := func(i int) {
		t.Helper()
		state := kernelState(t, d, nft.IPv4)
		for _, r := range everyRoute(i, 5, 0) {
			if _, ok := state[r.Frontend.String()]; !ok {
				t.Errorf("%v is not in the kernel", r.Frontend)
			}
		}
	}
	without(3)
	if routes := routesIn(t, applyAll(d, sticky(3, 6))); len(routes) != 3 {
		t.Errorf("a change: errors about %v, want 3", routes)
	}
	mustApply(t, d, table.Set(service(3), nil))
	mustApply(t, d, table.Set(service(0), nil))
	mustApply(t, d, sticky(3, 5))
	if len(d.tables[0].owners.without) != 0 {
		t.Errorf("%v have no number, want that service-3 has one", d.tables[0].owners.without)
	}
	mustSync(t, d, table) // which removes what service-3 needed without affinity
	next := open(t, shared)
	mustSync(t, next, table)
	if next.conn.Commits() != 0 {
		t.Errorf("%d commits of a new process, want none: the kernel has what the table says", next.conn.Commits())
	}
}

// TestAllOwners takes all numbers that there are.
func TestAllOwners(t *testing.T) {
	o := newOwners(maxOwners)
	k := func(i int) ownerKey {
		return ownerKey{vip.Owner{Service: cluster.Key{Namespace: "greedy", Name: fmt.Sprint(i)}}, 6}
	}
	for i := range maxOwners {
		if o.claim(k(i), 0, false) == nil {
			t.Fatalf("Owner %d gets no number", i)
		}
	}
	if o.claim(k(maxOwners), 0, false) != nil {
		t.Error("an Owner too many gets a number")
	}
	w := o.byKey[k(7)]
	o.release(w)
	if n := o.claim(k(maxOwners), 0, false); n == nil || n.number != w.number {
		t.Errorf("%+v, want number %d, which is free again", n, w.number)
	}
}

// TestManyStickyBackends: of more backends than an Owner can have numbers for, those are used that have
// one, and among them are those of this node.
func TestManyStickyBackends(t *testing.T) {
	r := testRoute(0, maxSticky+100)
	r.Affinity = 10800
	r.Local = slices.Clone(r.Cluster[maxSticky+50:])
	table := newTable(nil, newLayout(nft.IPv4, testHost), tableName)
	if err := table.check(r); err != nil {
		t.Fatal(err)
	}
	r.Policy = vip.ExternalLocal
	u := newUse()
	table.use(r, 1, u)
	table.plan(u)
	want := table.owners.byKey[keyOf(r)].settle()
	if got := len(want.backends[vip.Cluster]); got != maxSticky {
		t.Errorf("%d backends have numbers, want %d", got, maxSticky)
	}
	if got := len(want.backends[vip.Local]); got != len(r.Local) {
		t.Errorf("%d backends of this node have numbers, want all %d", got, len(r.Local))
	}
}

// TestWithoutHash is a kernel that cannot hash addresses: routes work, without affinity.
func TestWithoutHash(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	d.can.hash = false
	table := everything(2, 3, 10800)
	err := d.Sync(context.Background(), testHost, table)
	if routes := routesIn(t, err); len(routes) != 6 {
		t.Errorf("errors about %v, want 6 frontends: %v", routes, err)
	}
	if d.tables[0].made.remembers() {
		t.Error("there are rules about affinity")
	}
	if got, want := len(kernelState(t, d, nft.IPv4)), table.Len(); got != want {
		t.Errorf("%d frontends are in the kernel, want %d", got, want)
	}
	if err := rehearse(d.conn, nft.IPv4, 0, oneOfEach(false)); err != nil {
		t.Error(err)
	}
}
