package cluster

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/gaissmai/bart"
	"pgregory.net/rapid"
)

// ownersMachine is the address index alone beside the map that it must equal.
type ownersMachine struct {
	index addresses[int]
	cells []*cell[int]
	twin  map[netip.Addr]map[*cell[int]]int32
}

func newOwnersMachine() *ownersMachine {
	m := &ownersMachine{twin: map[netip.Addr]map[*cell[int]]int32{}}
	m.index.init()
	for i := range 4 {
		c := new(cell[int])
		c.key.Store(&Key{Name: fmt.Sprint(i)})
		m.cells = append(m.cells, c)
	}
	return m
}

func (m *ownersMachine) draw(t *rapid.T) (netip.Addr, *cell[int]) {
	return rapid.SampledFrom(worldAddrs()).Draw(t, "addr"), rapid.SampledFrom(m.cells).Draw(t, "owner")
}

func (m *ownersMachine) Add(t *rapid.T) {
	m.add(t)
	m.index.publish()
}

func (m *ownersMachine) Remove(t *rapid.T) {
	m.remove(t)
	m.index.publish()
}

// Many changes the index so often in one write that it is copied as a whole.
func (m *ownersMachine) Many(t *rapid.T) {
	held := m.index.trie.Load()
	before := dump(held)
	for range rapid.IntRange(1, 30).Draw(t, "changes") {
		if rapid.Bool().Draw(t, "add") {
			m.add(t)
		} else {
			m.remove(t)
		}
	}
	m.index.publish()
	if after := dump(held); after != before {
		t.Fatalf("a trie that a reader held changed from\n%v to\n%v", before, after)
	}
}

func (m *ownersMachine) add(t *rapid.T) {
	a, c := m.draw(t)
	m.index.add(a, c)
	if m.twin[a] == nil {
		m.twin[a] = map[*cell[int]]int32{}
	}
	m.twin[a][c]++
}

func (m *ownersMachine) remove(t *rapid.T) {
	a, c := m.draw(t)
	m.index.remove(a, c)
	if m.twin[a][c] > 0 {
		m.twin[a][c]--
	}
	if m.twin[a][c] == 0 {
		delete(m.twin[a], c)
	}
}

// WalkWhileItChanges holds a list over a change: it must stay as it was.
func (m *ownersMachine) WalkWhileItChanges(t *rapid.T) {
	a, c := m.draw(t)
	list := m.index.at(a)
	before := walk(list)
	m.index.add(a, c)
	m.index.remove(a, c)
	m.index.publish()
	if got := walk(list); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Fatalf("a list that was held changed from %v to %v", before, got)
	}
}

// dump lists a whole trie.
func dump(trie *bart.Table[*owner[int]]) (out string) {
	for p, o := range trie.AllSorted() {
		out += fmt.Sprintln(p, walk(o))
	}
	return out
}

// walk lists owners and counts.
func walk[V any](o *owner[V]) (out []string) {
	for ; o != nil; o = o.next {
		out = append(out, fmt.Sprint(*o.cell.key.Load(), "=", o.count))
	}
	return out
}

func (m *ownersMachine) Check(t *rapid.T) {
	for _, a := range worldAddrs() {
		n := 0
		for o := m.index.at(a); o != nil; o = o.next {
			if n++; o.count != m.twin[a][o.cell] {
				t.Fatalf("%v: %v counts %d, want %d", a, *o.cell.key.Load(), o.count, m.twin[a][o.cell])
			}
		}
		if n != len(m.twin[a]) {
			t.Fatalf("%v: %v, want %d owners", a, walk(m.index.at(a)), len(m.twin[a]))
		}
		for bits := range a.BitLen() + 1 {
			p := netip.PrefixFrom(a, bits) // not masked: within must not mind
			want := false
			for o := range m.twin {
				want = want || len(m.twin[o]) > 0 && p.Contains(o)
			}
			if got := m.index.within(p); got != want {
				t.Fatalf("within(%v) = %v, want %v", p, got, want)
			}
		}
	}
}

func TestOwnersSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		t.Repeat(rapid.StateMachineActions(newOwnersMachine()))
	})
}

// TestWithin has the questions that a reverse zone asks.
func TestWithin(t *testing.T) {
	var index addresses[int]
	index.init()
	for _, a := range addrs("10.96.0.10", "fd00:10:96::a") {
		index.add(a, &cell[int]{})
	}
	index.publish()
	tests := []struct {
		name   string
		prefix netip.Prefix
		want   bool
	}{
		{"in-addr.arpa", netip.MustParsePrefix("0.0.0.0/0"), true},
		{"10.in-addr.arpa", netip.MustParsePrefix("10.0.0.0/8"), true},
		{"11.in-addr.arpa", netip.MustParsePrefix("11.0.0.0/8"), false},
		{"0.96.10.in-addr.arpa", netip.MustParsePrefix("10.96.0.0/24"), true},
		{"1.96.10.in-addr.arpa", netip.MustParsePrefix("10.96.1.0/24"), false},
		{"10.0.96.10.in-addr.arpa", netip.MustParsePrefix("10.96.0.10/32"), true},
		{"11.0.96.10.in-addr.arpa", netip.MustParsePrefix("10.96.0.11/32"), false},
		{"ip6.arpa", netip.MustParsePrefix("::/0"), true},
		{"f.ip6.arpa", netip.MustParsePrefix("f000::/4"), true},
		{"e.ip6.arpa", netip.MustParsePrefix("e000::/4"), false},
		{"0.d.f.ip6.arpa", netip.MustParsePrefix("fd00::/12"), true},
		{"1.d.f.ip6.arpa", netip.MustParsePrefix("fd10::/12"), false},
		{"the last nibble", netip.MustParsePrefix("fd00:10:96::a/128"), true},
		{"its neighbour", netip.MustParsePrefix("fd00:10:96::b/128"), false},
		{"the last nibble's parent", netip.MustParsePrefix("fd00:10:96::/124"), true},
		{"a v4 address in v6", netip.MustParsePrefix("::ffff:10.96.0.10/128"), false},
		{"the zero Prefix", netip.Prefix{}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := index.within(test.prefix); got != test.want {
				t.Errorf("within(%v) = %v, want %v", test.prefix, got, test.want)
			}
		})
	}
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("::ffff:10.96.0.10")} {
		if o := index.at(a); o != nil {
			t.Errorf("at(%v) = %v, want none", a, walk(o))
		}
	}
}

// TestSharedAddress puts one address under many owners: a ready pod that a
// thousand Services select. Adding the next must not copy the others.
func TestSharedAddress(t *testing.T) {
	var index addresses[int]
	index.init()
	a := netip.MustParseAddr("10.0.0.1")
	allocsWith := func(n int) float64 {
		for range n {
			index.add(a, &cell[int]{})
		}
		index.publish()
		c := &cell[int]{}
		return testing.AllocsPerRun(10, func() {
			index.add(a, c)
			index.remove(a, c)
			index.publish()
		})
	}
	few := allocsWith(10)
	if many := allocsWith(1000); many > few {
		t.Errorf("%v allocations with 1,000 owners, %v with 10", many, few)
	}
}
