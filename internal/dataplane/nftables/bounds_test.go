package nftables

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// stockBuffer is net.core.wmem_max where an administrator did not change it.
const stockBuffer = 212_992

// limitBuffer lets the kernel refuse transactions of more bytes, as it does in a container.
func limitBuffer(t testing.TB, d *Dataplane, bytes int) {
	t.Helper()
	if err := unix.SetsockoptInt(d.conn.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, bytes/2); err != nil {
		t.Fatal(err)
	}
	if got, err := unix.GetsockoptInt(d.conn.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF); got != bytes {
		t.Fatalf("the buffer is %d bytes, want %d: %v", got, bytes, err)
	}
	d.conn.Limit = bytes - nft.SendOverhead
}

// allShapes is everything that objects can make a table consist of.
func allShapes(f *nft.Family) made {
	m := newMade()
	for _, g := range allGroups() {
		m.groups[g] = true
	}
	for _, c := range allClasses() {
		m.classes[c] = true
	}
	for _, node := range []bool{false, true} {
		for bits := restricted; bits <= f.Addr.Size*8; bits++ {
			m.ranges[ranges{node, bits}] = true
		}
	}
	for _, seconds := range ladder {
		m.timeouts[seconds] = true
	}
	return m
}

// someShapes draws some of them.
func someShapes(t *rapid.T, f *nft.Family) made {
	m := newMade()
	percent := rapid.SampledFrom([]int{0, 1, 5, 20}).Draw(t, "percent")
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	keep := func() bool { return random.IntN(100) < percent }
	all := allShapes(f)
	for _, g := range all.inOrder(func(group) bool { return true }) {
		if keep() {
			m.groups[g] = true
		}
	}
	for _, c := range all.classesWith(func(class) bool { return true }) {
		if keep() {
			m.classes[c] = true
		}
	}
	for _, seconds := range all.timeoutsInOrder() {
		if keep() {
			m.timeouts[seconds] = true
		}
	}
	return m
}

// TestStructureFitsIntoTransactions: whatever objects ask for, no transaction is larger than the socket allows,
// nothing is lost where it is cut, and what a message names is there before it.
func TestStructureFitsIntoTransactions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := rapid.SampledFrom(families).Draw(rt, "family")
		l := newLayout(f, testHost)
		limit := rapid.SampledFrom([]int{4608, 16 << 10, stockBuffer - nft.SendOverhead, nft.MaxTransaction}).Draw(rt, "limit")
		whole := nft.NewTransaction()
		if err := newTable(nil, l, spareName).changeLayout(whole, nil, someShapes(rt, f)); err != nil {
			rt.Fatal(err)
		}
		checkParts(rt, whole, limit)
	})
	for _, f := range families {
		whole := nft.NewTransaction()
		l := newLayout(f, testHost)
		if err := newTable(nil, l, spareName).changeLayout(whole, nil, allShapes(f)); err != nil {
			t.Fatal(err)
		}
		n := checkParts(t, whole, stockBuffer-nft.SendOverhead)
		t.Logf("all that table %s can consist of is %d bytes in %d transactions", f.Name, whole.Size(), n)
		whole = nft.NewTransaction()
		if err := newTable(nil, l, tableName+"-probe").changeLayout(whole, nil, oneOfEach(true)); err != nil {
			t.Fatal(err)
		}
		if size := whole.Size(); size > stockBuffer-nft.SendOverhead {
			t.Errorf("the rehearsal is %d bytes in one transaction, more than %d", size, stockBuffer-nft.SendOverhead)
		}
	}
}

// checkParts checks that each part of a transaction fits, that no message is lost, and that what a message names is in
// a message before it. It counts the parts.
func checkParts(t interface{ Fatalf(string, ...any) }, whole *nft.Transaction, limit int) (n int) {
	var all []byte
	sets, chains := map[string]bool{}, map[string]bool{}
	for part := range whole.Parts(limit) {
		n++
		if part.Size() > limit || part.Empty() {
			t.Fatalf("part %d has %d bytes, want some, at most %d", n, part.Size(), limit)
		}
		all = append(all, withoutFirst(part.Bytes())...)
	}
	if want := withoutFirst(whole.Bytes()); string(all) != string(want) {
		t.Fatalf("%d parts of %d bytes in all are not the %d bytes that were cut", n, len(all), len(want))
	}
	for b := all; len(b) > 0; b = b[binary.NativeEndian.Uint32(b):] {
		body := b[unix.SizeofNlMsghdr+4 : binary.NativeEndian.Uint32(b)]
		switch binary.NativeEndian.Uint16(b[4:]) {
		case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSET:
			sets[textOf(attrOf(body, unix.NFTA_SET_NAME))] = true
		case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWCHAIN:
			chains[textOf(attrOf(body, unix.NFTA_CHAIN_NAME))] = true
		case unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE:
			checkNamed(t, textOf(attrOf(body, unix.NFTA_RULE_CHAIN)), attrOf(body, unix.NFTA_RULE_EXPRESSIONS), sets, chains)
		}
	}
	return n
}

// withoutFirst returns messages without the one that begins a transaction.
func withoutFirst(b []byte) []byte { return b[binary.NativeEndian.Uint32(b):] }

// checkNamed complains if a rule of a chain names what is not there.
func checkNamed(t interface{ Fatalf(string, ...any) }, chain string, exprs []byte, sets, chains map[string]bool) {
	list, err := netlink.UnmarshalAttributes(exprs)
	if err != nil || len(list) == 0 {
		t.Fatalf("a rule of chain %s has %d expressions: %v", chain, len(list), err)
	}
	for _, e := range list {
		data := attrOf(e.Data, unix.NFTA_EXPR_DATA)
		switch textOf(attrOf(e.Data, unix.NFTA_EXPR_NAME)) {
		case "lookup":
			if s := textOf(attrOf(data, unix.NFTA_LOOKUP_SET)); !sets[s] {
				t.Fatalf("chain %s names set %s before it is there", chain, s)
			}
		case "immediate":
			verdict := attrOf(attrOf(data, unix.NFTA_IMMEDIATE_DATA), unix.NFTA_DATA_VERDICT)
			if c := textOf(attrOf(verdict, unix.NFTA_VERDICT_CHAIN)); c != "" && !chains[c] {
				t.Fatalf("chain %s leads to chain %s before it is there", chain, c)
			}
		}
	}
}

// attrOf returns the content of the first attribute of a kind, or nil.
func attrOf(b []byte, kind uint16) []byte {
	list, _ := netlink.UnmarshalAttributes(b)
	for _, a := range list {
		if a.Type&^unix.NLA_F_NESTED == kind {
			return a.Data
		}
	}
	return nil
}

func textOf(b []byte) string { return strings.TrimSuffix(string(b), "\x00") }

// TestAllShapes makes everything that a table can consist of, in both families, through a socket
// with the default room. A new process adopts it and removes what no Service needs.
func TestAllShapes(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	limitBuffer(t, d, stockBuffer)
	table := testTable(3, 5)
	mustSync(t, d, table)
	for _, tab := range d.tables {
		all := allShapes(tab.Family)
		all.add(tab.made)
		if err := tab.remake(all); err != nil {
			t.Fatalf("table %s: %v", tab.Family.Name, err)
		}
	}
	mustIntact(t, d, true)
	mustApply(t, d, table.Set(service(1), []*vip.Route{testRoute(1, 6)}))
	mustApply(t, d, table.Set(service(3), everyRoute(3, 5, 7)))
	d.Close()

	next := open(t, shared)
	limitBuffer(t, next, stockBuffer)
	for _, f := range families {
		tab := newTable(next.conn, newLayout(f, testHost), tableName)
		found, err := findLayout(next.conn, ourTable(f))
		if err != nil {
			t.Fatal(err)
		}
		m, why := tab.difference(found)
		if why != "" || !allShapes(f).equal(m) {
			t.Errorf("table %s: %q, with %d groups, %d classes, %d ranges and %d timeouts; want all shapes, adopted",
				f.Name, why, len(m.groups), len(m.classes), len(m.ranges), len(m.timeouts))
		}
	}
	handle := d.tables[0].handle
	mustSync(t, next, table) // which removes what no Service needs
	if next.tables[0].handle != handle {
		t.Error("the table was built anew, want that it is adopted")
	}
	if n := len(next.tables[0].made.groups); n > 20 {
		t.Errorf("%d groups are left, want those that are needed", n)
	}
	mustIntact(t, next, true)
}

// timeoutRoutes are the routes of a Service with all kinds of frontends and a timeout of its own.
func timeoutRoutes(i int, seconds uint32) []*vip.Route {
	routes := everyRoute(i, 5, seconds)
	external := *routes[3]
	external.Kind, external.Addr = vip.ExternalIP, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
	return append(routes, &external)
}

// TestManyTimeouts: a table with Services of a timeout each is made, other Services are programmed
// beside them, and the number of rules is bounded.
func TestManyTimeouts(t *testing.T) {
	for _, n := range []int{50, 150, 500} {
		t.Run(fmt.Sprintf("%d on a fresh table", n), func(t *testing.T) {
			netlab.OwnNetwork(t)
			d := open(t, shared)
			limitBuffer(t, d, stockBuffer)
			table := vip.NewTable()
			for i := range n {
				table.Set(service(i), timeoutRoutes(i, uint32(i+1)))
			}
			mustSync(t, d, table)
			if got, want := len(kernelState(t, d, nft.IPv4)), table.Len(); got != want {
				t.Errorf("%d frontends are in the kernel, want %d", got, want)
			}
			if n := len(d.tables[0].made.timeouts); n > len(ladder) {
				t.Errorf("%d timeouts have rules, want at most %d", n, len(ladder))
			}
			next := open(t, shared)
			mustSync(t, next, table)
			if next.conn.Commits() != 0 {
				t.Errorf("%d commits of a new process, want none", next.conn.Commits())
			}
		})
		t.Run(fmt.Sprintf("%d beside others", n), func(t *testing.T) {
			netlab.OwnNetwork(t)
			d := open(t, shared)
			limitBuffer(t, d, stockBuffer)
			table := testTable(1, 3)
			mustSync(t, d, table)
			var changes []vip.Change
			for i := range n {
				changes = append(changes, table.Set(service(i+10), timeoutRoutes(i+10, uint32(i+1)))...)
			}
			mustApply(t, d, changes)
			mustApply(t, d, table.Set(service(0), []*vip.Route{testRoute(0, 4)}))
			mustApply(t, d, table.Set(service(1), []*vip.Route{testRoute(1, 2)}))
			if got, want := len(kernelState(t, d, nft.IPv4)), table.Len(); got != want {
				t.Errorf("%d frontends are in the kernel, want %d", got, want)
			}
			mustIntact(t, d, true)
		})
	}
}

// TestTransactionsFit writes random tables through a socket with hardly any room, so that
// the kernel itself refuses what is too large.
func TestTransactionsFit(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	limitBuffer(t, d, 8<<10)
	for _, n := range []int{0, 4, 200} { // frontends with many shapes among them
		table := vip.NewTable()
		for i := range n {
			table.Set(service(i), timeoutRoutes(i, uint32(i*300+1)))
		}
		mustSync(t, d, table)
	}
	rapid.Check(t, func(rt *rapid.T) {
		table := vip.NewTable()
		for i := range 3 {
			table.Set(service(i), modelRoutes(rt, i))
		}
		if err := d.Sync(context.Background(), testHost, table); err != nil {
			rt.Fatal(err)
		}
		i := rapid.IntRange(0, 3).Draw(rt, "service")
		if err := applyAll(d, table.Set(service(i), modelRoutes(rt, i))); err != nil {
			rt.Fatal(err)
		}
	})
}
