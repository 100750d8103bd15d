package nft

import (
	"errors"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

func dial(t *testing.T) *Conn {
	t.Helper()
	netlab.OwnNetwork(t)
	c, err := Dial(MaxTransaction)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustCommit makes a table with sets, and adds to it what fill says.
func mustCommit(t *testing.T, c *Conn, table Table, fill func(*Transaction), sets ...*Set) {
	t.Helper()
	tx := c.Begin()
	tx.NewTable(table, 0, "a test")
	for _, s := range sets {
		tx.NewSet(table, s)
	}
	fill(tx)
	if err := c.Commit(tx); err != nil {
		t.Fatal(err)
	}
}

func list(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("nft", "list", "ruleset").CombinedOutput()
	if err != nil {
		t.Fatalf("nft: %v\n%s", err, out)
	}
	return string(out)
}

func frontend(addr string, port byte) []byte {
	return append(netip.MustParseAddr(addr).AsSlice(), unix.IPPROTO_TCP, 0, 0, 0, 0, port, 0, 0)
}

// TestErrorsNameTheObject: of many elements in a message the error names the one at fault.
func TestErrorsNameTheObject(t *testing.T) {
	c := dial(t)
	table, s := Table{IPv4, "t"}, &Set{Name: "services", Key: []Field{IPv4.Destination(), Protocol(), Port()}}
	var first Elements
	first.Add(&Element{Key: frontend("10.0.0.1", 80)})
	mustCommit(t, c, table, func(tx *Transaction) { tx.AddElements(table, s, first) }, s)
	tx := c.Begin()
	var drops Elements
	drops.Delete(&Element{Key: frontend("10.0.0.1", 80)})
	drops.Delete(&Element{Key: frontend("10.0.0.2", 81)})
	tx.DeleteElements(table, s, drops)
	err := c.Commit(tx)
	if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "deleting from services: 10.0.0.2 . tcp . 81: ") {
		t.Errorf("%v, want the element", err)
	}
	tx = c.Begin()
	if err := tx.NewRule(table, "nowhere", Drop, 0); err != nil {
		t.Fatal(err)
	}
	if err := c.Commit(tx); !errors.Is(err, unix.ENOENT) || !strings.HasPrefix(err.Error(), `rule "drop" in chain nowhere: `) {
		t.Errorf("%v, want the rule", err)
	}
	n := 0
	if err := c.ListElements(table, s.Name, func(Element) { n++ }); err != nil || n != 1 {
		t.Errorf("%d elements, %v; want that nothing of a refused transaction is committed", n, err)
	}
}

// TestSetsInNFTsWords holds sets of each kind against what nft shows of them, and loads that again.
func TestSetsInNFTsWords(t *testing.T) {
	c := dial(t)
	table, f := Table{IPv6, "t"}, IPv6
	frontend := []Field{f.Destination(), Protocol(), Port()}
	counted := &Set{Name: "counted", Key: frontend, Counter: true}
	ranges := &Set{Name: "ranges", Key: append(frontend[:3:3], f.Source()), Interval: true}
	marks := &Set{Name: "marks", Key: frontend, Value: []Field{Mark()}}
	noted := &Set{Name: "noted", Key: []Field{Mark()}}
	key := append(netip.MustParseAddr("fd00::1").AsSlice(), 17, 0, 0, 0, 0, 53, 0, 0)
	low, high := netip.MustParseAddr("2001:db8::").AsSlice(), netip.MustParseAddr("2001:db8::ff").AsSlice()
	put := func(e Element) (l Elements) {
		l.Add(&e)
		return l
	}
	mustCommit(t, c, table, func(tx *Transaction) {
		tx.AddElements(table, counted, put(Element{Key: key}))
		tx.AddElements(table, ranges, put(Element{Key: append(key[:24:24], low...), KeyEnd: append(key[:24:24], high...)}))
		tx.AddElements(table, marks, put(Element{Key: key, Value: Native(0x53)}))
		tx.AddElements(table, noted, put(Element{Key: Native(1), Comment: "a text"}))
	}, counted, ranges, marks, noted)
	rules := list(t)
	for _, want := range []string{
		`comment "a test"`, "counter packets 0 bytes 0",
		"fd00::1 . udp . 53 . 2001:db8::/120", "fd00::1 . udp . 53 : 0x00000053", `0x00000001 comment "a text"`,
	} {
		if !strings.Contains(rules, want) {
			t.Errorf("nft does not show %q:\n%s", want, rules)
		}
	}
	load := exec.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader("flush ruleset\n" + rules)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("load the listing: %v\n%s", err, out)
	}
	if again := list(t); again != rules {
		t.Errorf("loaded again it is\n%s\nwant\n%s", again, rules)
	}
	found, err := c.FindSets(table)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Set{counted, ranges, marks, noted} {
		if !found[s.Name].HasKey(s.Key) {
			t.Errorf("set %s has another key: %+v", s.Name, found[s.Name])
		}
	}
}

// TestManyElements lets a list be cut into messages, and a transaction into parts.
func TestManyElements(t *testing.T) {
	c := dial(t)
	c.Limit = 20 << 10
	table, s := Table{IPv4, "t"}, &Set{Name: "s", Key: []Field{IPv4.Destination()}}
	mustCommit(t, c, table, func(*Transaction) {}, s)
	const many = 10_000
	var all Elements
	for i := range many {
		all.Add(&Element{Key: []byte{10, 0, byte(i >> 8), byte(i)}})
	}
	tx := NewTransaction()
	tx.AddElements(table, s, all)
	if err := c.CommitParts(tx); err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := c.ListElements(table, s.Name, func(Element) { n++ }); err != nil || n != many {
		t.Errorf("%d elements are there, %v; want %d", n, err, many)
	}
}
