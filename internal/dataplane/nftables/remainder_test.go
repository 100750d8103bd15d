package nftables

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// A frontend with many backends is written in slices of one transaction. Changes of another
// Service are complete when Apply returns; one of the same Service completes the one before.
func TestLargeFrontendInSlices(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	d.conn.Limit = 20 << 10 // bytes: about 300 elements
	table := vip.NewTable()
	mustSync(t, d, table)
	large := func(n int) []vip.Change {
		r := testRoute(0, n)
		return table.Set(r.Owner.Service, []*vip.Route{r})
	}
	in := func(f vip.Frontend) int { return len(kernelState(t, d, nft.IPv4)[f.String()].In) }
	first := testRoute(0, 1).Frontend
	for _, n := range []int{2000, 4000, 1000, 4000, 0} {
		before, finishes := d.conn.Commits(), d.unfinished()
		mustApplyPart(t, d, large(n))
		if made := d.conn.Commits() - before; made > 2 && !finishes { // one may make a class
			t.Fatalf("%d backends: %d commits at once, want at most 2", n, made)
		}
		for i := 1; i < 3; i++ {
			other := testRoute(i, n%7+1)
			mustApplyPart(t, d, table.Set(other.Owner.Service, []*vip.Route{other}))
			if in(other.Frontend) != 1 {
				t.Fatalf("%d backends: %v of another Service is not written", n, other.Frontend)
			}
			mustProceed(t, d)
			if n > 0 && n != 2000 && in(first) != 1 {
				t.Fatalf("%d backends: %v is missing between slices", n, first)
			}
		}
		if !d.unfinished() {
			t.Fatalf("%d backends are written already; the test needs more", n)
		}
		if n == 1000 { // the next change comes before the last slice
			continue
		}
		mustApply(t, d, nil)
		if diff := cmp.Diff(wantedState(nft.IPv4, table), kernelState(t, d, nft.IPv4), equalAddrPorts); diff != "" {
			t.Fatal(diff)
		}
	}
}

// Sync writes what Apply left.
func TestSyncFinishes(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	most := d.conn.Limit
	table := vip.NewTable()
	mustSync(t, d, table)
	d.conn.Limit = 20 << 10
	r := testRoute(0, 2000)
	mustApplyPart(t, d, table.Set(r.Owner.Service, []*vip.Route{r}))
	if !d.unfinished() {
		t.Fatal("all is written at once")
	}
	d.conn.Limit = most
	mustSync(t, d, table)
	if d.unfinished() {
		t.Error("unfinished after a Sync")
	}
	if diff := cmp.Diff(wantedState(nft.IPv4, table), kernelState(t, d, nft.IPv4), equalAddrPorts); diff != "" {
		t.Error(diff)
	}
}

// A change that waits for what an earlier one left is written although the kernel refuses
// a frontend of that.
func TestChangeAfterRefusedRemainder(t *testing.T) {
	netlab.OwnNetwork(t)
	mustNFT(t, withRoomFor(t, 1), "-f", "-")
	d := open(t, shared)
	d.conn.Limit = 20 << 10
	table, want := testTable(1, 1), vip.NewTable()
	mustSync(t, d, table)
	large := func(table *vip.Table, n int) []vip.Change {
		return table.Set(service(0), []*vip.Route{testRoute(0, n)})
	}
	mustApplyPart(t, d, slices.Concat(large(table, 2000), table.Set(service(1), []*vip.Route{testRoute(1, 2)})))
	if !d.unfinished() {
		t.Fatal("all is written at once")
	}
	_, err := d.Apply(context.Background(), large(table, 1500))
	if refused := routesIn(t, err); !slices.Equal(refused, []string{"default/service-1:http"}) {
		t.Errorf("Apply refuses %v, want service-1", refused)
	}
	mustApply(t, d, nil)
	large(want, 1500)
	if diff := cmp.Diff(wantedState(nft.IPv4, want), kernelState(t, d, nft.IPv4), equalAddrPorts); diff != "" {
		t.Error(diff)
	}
}

func mustApplyPart(t *testing.T, d *Dataplane, changes []vip.Change) {
	t.Helper()
	if _, err := d.Apply(context.Background(), changes); err != nil {
		t.Fatal(err)
	}
}
