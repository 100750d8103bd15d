package ipvs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What yields keeps its virtual servers and addresses, for the connections that there are, and claims no packet of a
// new one. A Sync takes it all back.
func TestYield(t *testing.T) {
	ownNetwork(t)
	if err := Yield(); err != nil {
		t.Errorf("where there is nothing: %v", err)
	}
	table := everything()
	d := open(t, Options{})
	sync(t, d, testHost, table)
	servers := func() string { return output(t, "ipvsadm", "-S", "-n") }
	addresses := func() string { return output(t, "ip", "-o", "addr", "show", "dev", linkName) }
	rules := func() string { return output(t, "nft", "list", "ruleset") }
	claims := func() (found []string) {
		for _, name := range []string{claimPrerouting, claimOutput, sealed} {
			if strings.Contains(rules(), "chain "+name) {
				found = append(found, name)
			}
		}
		return found
	}
	before := []string{servers(), addresses(), rules()}
	if got := len(claims()); got != 3 {
		t.Fatalf("%d kinds of chains claim packets before, want 3:\n%s", got, before[2])
	}

	for range 2 { // the second time there is nothing left to give up
		if err := Yield(); err != nil {
			t.Fatal(err)
		}
		if got := claims(); len(got) > 0 {
			t.Errorf("chains %v still claim packets:\n%s", got, rules())
		}
	}
	if diff := cmp.Diff(before[:2], []string{servers(), addresses()}); diff != "" {
		t.Errorf("virtual servers and addresses (-before +after):\n%s", diff)
	}
	if !strings.Contains(rules(), "table ip "+tableName) || !strings.Contains(rules(), "table ip6 "+tableName) {
		t.Errorf("the tables are gone, which connections need that go on:\n%s", rules())
	}
	if ok, err := intact(d); ok || err != nil {
		t.Errorf("intact: %v %v, want false: the process that yields does not route any more", ok, err)
	}

	sync(t, d, testHost, table)
	if diff := cmp.Diff(before, []string{servers(), addresses(), rules()}); diff != "" {
		t.Errorf("after a Sync (-before +after):\n%s", diff)
	}
}
