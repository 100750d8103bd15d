package ipvs

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// steps lead from one state of the kernel to another. Their order is that of the fields: what
// packets must not miss comes first and goes last.
type steps struct {
	rules  edits
	serve  []serverChange
	bind   []netip.Addr
	unbind []netip.Addr
	retire []virtual
	last   edits
}

// edits are changes of the companion's elements: one transaction. Drops come before puts.
type edits struct{ drop, put []entry }

func (e edits) empty() bool { return len(e.drop)+len(e.put) == 0 }

// An entry is an element as the kernel has it: its key, where there are ranges with the end of
// the key behind it, and the value in a map.
type entry struct {
	v4    bool
	set   string
	key   string
	value uint32
}

// serverChange is what is to be done about a virtual server that stays or comes.
type serverChange struct {
	virtual
	settings
	isNew, changed bool // changed: its settings
	drains         bool // backends that go end what they began
	add, remove    []netip.AddrPort
}

// diff is what leads from one state to another.
func diff(have, want facts) steps {
	s := steps{}
	for _, v := range slices.SortedFunc(maps.Keys(want.servers), virtual.compare) {
		w, h := want.servers[v], have.servers[v]
		_, there := have.servers[v]
		c := serverChange{
			virtual: v, settings: w.settings, drains: w.drains(), isNew: !there, changed: there && h.settings != w.settings,
			add: without(w.backends, h.backends), remove: without(h.backends, w.backends),
		}
		if c.isNew || c.changed || len(c.add)+len(c.remove) > 0 {
			s.serve = append(s.serve, c)
		}
	}
	s.retire = slices.SortedFunc(only(have.servers, want.servers), virtual.compare)
	s.bind = slices.SortedFunc(only(want.addrs, have.addrs), netip.Addr.Compare)
	s.unbind = slices.SortedFunc(only(have.addrs, want.addrs), netip.Addr.Compare)
	s.rules, s.last = diffEntries(entries(have.elements), entries(want.elements))
	return s
}

// only yields the keys that just the first of two maps has.
func only[K comparable, V, W any](m map[K]V, other map[K]W) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if _, ok := other[k]; !ok && !yield(k) {
				return
			}
		}
	}
}

// diffEntries is what to do before and after the servers change: one who is let in no more, or again,
// first; what keeps connections right while a frontend goes, last. An entry with another value
// is dropped and put, and so are ranges, which must not overlap.
func diffEntries(have, want map[entry]bool) (first, last edits) {
	keys := map[entry]bool{} // wanted, without values
	for e := range want {
		if !have[e] {
			first.put = append(first.put, e)
		}
		e.value = 0
		keys[e] = true
	}
	for e := range have {
		if want[e] {
			continue
		}
		bare := e
		bare.value = 0
		if keys[bare] || e.set == setSources || strings.HasPrefix(e.set, rejects) || strings.HasPrefix(e.set, drops) {
			first.drop = append(first.drop, e)
		} else {
			last.drop = append(last.drop, e)
		}
	}
	for _, list := range [][]entry{first.put, first.drop, last.drop} {
		slices.SortFunc(list, func(a, b entry) int { return cmp.Or(cmp.Compare(a.set, b.set), cmp.Compare(a.key, b.key)) })
	}
	return first, last
}

// entries are elements as the kernel has them.
func entries(elements map[element]uint32) map[entry]bool {
	all := make(map[entry]bool, len(elements))
	for e, value := range elements {
		all[entryOf(e, value)] = true
	}
	return all
}

// shapes are the sets of the companion by name. They are the same in both families.
var shapes = func() map[string]set {
	m := map[string]set{}
	for _, s := range sets() {
		m[s.name] = s
	}
	return m
}()

func entryOf(e element, value uint32) entry {
	s := shapes[e.set]
	key, end := s.keyOf(e)
	return entry{v4: e.place.Addr.Is4(), set: e.set, key: string(key) + string(end), value: value}
}
