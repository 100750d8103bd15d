package nftables

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/nft"
)

// TestListingLoadsAgain is what an administrator does to keep a firewall. If nft
// cannot load its own listing of our tables, the whole file fails.
func TestListingLoadsAgain(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	table := mixedTable()
	mustSync(t, d, table)
	listing := mustNFT(t, "", "list", "ruleset")
	mustNFT(t, "", "flush", "ruleset")
	mustIntact(t, d, false)
	mustNFT(t, listing, "-f", "-")
	if diff := cmp.Diff(sorted(listing), sorted(mustNFT(t, "", "list", "ruleset"))); diff != "" {
		t.Error(diff)
	}
	mustNFT(t, "", "-j", "list", "ruleset")

	// What nft loaded is as good as what we wrote, to the bit: nothing is written.
	again := open(t, shared)
	mustSync(t, again, table)
	if again.conn.Commits() != 0 {
		t.Errorf("%d commits after nft loaded the listing, want none", again.conn.Commits())
	}
}

// TestRenderIsWhatSyncWrites loads the text of `forwarder plan` and compares.
func TestRenderIsWhatSyncWrites(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	table := mixedTable()
	mustSync(t, d, table)
	written := mustNFT(t, "", "list", "ruleset")
	mustNFT(t, "", "flush", "ruleset")
	plan, err := Render(testHost, table)
	if err != nil {
		t.Fatal(err)
	}
	mustNFT(t, plan, "-c", "-f", "-")
	mustNFT(t, plan, "-f", "-")
	if diff := cmp.Diff(sorted(written), sorted(mustNFT(t, "", "list", "ruleset"))); diff != "" {
		t.Error(diff)
	}
	again := open(t, shared)
	mustSync(t, again, table)
	if again.conn.Commits() != 0 {
		t.Errorf("%d commits after nft loaded the plan, want none", again.conn.Commits())
	}
}

// TestSyncWritesNothingTwice reads the generation of the rules: each commit advances it.
func TestSyncWritesNothingTwice(t *testing.T) {
	for name, o := range map[string]Options{"shared": shared, "owned": owned} {
		t.Run(name, func(t *testing.T) {
			netlab.OwnNetwork(t)
			d := open(t, o)
			mustSync(t, d, mixedTable())
			before := generation(t, d)
			mustSync(t, d, mixedTable())
			if now := generation(t, d); now != before {
				t.Errorf("a second Sync advanced the generation from %d to %d", before, now)
			}
			d.Close()
			next := open(t, o)
			mustSync(t, next, mixedTable())
			want := before
			if next.owns() {
				want += 2 // both tables got another owner
			}
			if now := generation(t, next); now != want {
				t.Errorf("a new process's Sync advanced the generation from %d to %d, want %d", before, now, want)
			}
			mustIntact(t, next, true)
		})
	}
}

func generation(t *testing.T, d *Dataplane) uint32 {
	t.Helper()
	g, err := d.conn.Generation()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestForeignFlush is `nft flush ruleset`, the first line of most saved firewalls.
func TestForeignFlush(t *testing.T) {
	t.Run("is powerless against an owned table", func(t *testing.T) {
		netlab.OwnNetwork(t)
		d := open(t, owned)
		mustSync(t, d, mixedTable())
		before := mustNFT(t, "", "list", "ruleset")
		mustNFT(t, "", "flush", "ruleset")
		if diff := cmp.Diff(sorted(before), sorted(mustNFT(t, "", "list", "ruleset"))); diff != "" {
			t.Error(diff)
		}
		for _, command := range []string{"delete table ip signpost", "flush chain ip6 signpost services", "flush set ip signpost plain"} {
			if _, err := runNFT(t, command, "-f", "-"); err == nil {
				t.Errorf("nft %s: no error", command)
			}
		}
		// The price: see Options.
		if _, err := runNFT(t, before, "-f", "-"); err == nil || !strings.Contains(err.Error(), "Operation not permitted") {
			t.Errorf("nft -f with a listing of owned tables: %v", err)
		}
		mustIntact(t, d, true)
	})
	t.Run("is noticed in a shared one", func(t *testing.T) {
		netlab.OwnNetwork(t)
		d := open(t, shared)
		mustSync(t, d, mixedTable())
		before := mustNFT(t, "", "list", "ruleset")
		mustNFT(t, "", "flush", "ruleset")
		mustIntact(t, d, false)
		mustSync(t, d, mixedTable())
		mustIntact(t, d, true)
		if diff := cmp.Diff(sorted(before), sorted(mustNFT(t, "", "list", "ruleset"))); diff != "" {
			t.Error(diff)
		}
	})
}

// TestForeignChanges makes each kind of change to a shared table that a person could make.
func TestForeignChanges(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	mustSync(t, d, mixedTable())
	want := sorted(mustNFT(t, "", "list", "table", "ip", "signpost"))
	for _, command := range []string{
		"delete table ip signpost",
		"flush chain ip signpost services",
		"add rule ip signpost prerouting counter",
		"insert rule ip signpost postrouting accept",
		"add chain ip signpost mine",
		"add set ip signpost mine { type ipv4_addr; }",
		"delete element ip signpost masquerade-node-outside { 10.96.0.1 . tcp . 443 }",
		"delete element ip signpost backends-tcp-1 { 10.96.0.1 . 443 . 0 }",
		"add element ip signpost backends-tcp-4 { 10.96.0.1 . 443 . 7 : 10.0.0.1 . 80 }",
		"add element ip signpost drop-all { 10.96.9.9 . tcp . 443 }",
		"flush set ip signpost reject-all",
		"flush set ip signpost hairpin",
		"add element ip signpost node-addrs { 1.2.3.4 }",
	} {
		mustNFT(t, command, "-f", "-")
		if (strings.Contains(command, " element ") || strings.HasPrefix(command, "flush set")) && !countsElements(t, d) {
			t.Logf("this kernel does not count elements, expected Linux 6.15 or newer: %s", command)
		} else if ok, err := intact(d); err != nil || ok {
			t.Errorf("%s: intact %v, %v; want that it is noticed", command, ok, err)
		}
		mustSync(t, d, mixedTable())
		mustIntact(t, d, true)
		if diff := cmp.Diff(want, sorted(mustNFT(t, "", "list", "table", "ip", "signpost"))); diff != "" {
			t.Errorf("%s: not repaired: %s", command, diff)
		}
	}
	// Other tables are not our business.
	mustNFT(t, "add table ip firewall", "-f", "-")
	mustNFT(t, "add chain ip firewall mine", "-f", "-")
	mustIntact(t, d, true)
	if g := generation(t, d); g != d.expectedGeneration() {
		t.Errorf("generation %d, expected %d: what was seen must not be looked at again", g, d.expectedGeneration())
	}
}

// TestSecondInstance starts a second dataplane in the same network.
func TestSecondInstance(t *testing.T) {
	netlab.OwnNetwork(t)
	first := open(t, owned)
	mustSync(t, first, mixedTable())
	second := open(t, owned)
	err := second.Sync(context.Background(), testHost, mixedTable())
	if !errors.Is(err, dataplane.ErrInUse) || !strings.Contains(err.Error(), "process ") || !strings.Contains(err.Error(), "stop that one first") {
		t.Fatalf("got %v, want %v, with the process and what to do", err, dataplane.ErrInUse)
	}
	mustIntact(t, first, true)
	first.Close()
	mustSync(t, second, mixedTable())
	mustIntact(t, second, true)
}

// countsElements reports whether the kernel tells how many elements a set has.
func countsElements(t *testing.T, d *Dataplane) bool {
	t.Helper()
	found, err := findLayout(d.conn, ourTable(nft.IPv4))
	if err != nil {
		t.Fatal(err)
	}
	return found.sets["node-addrs"].Count >= 0
}
