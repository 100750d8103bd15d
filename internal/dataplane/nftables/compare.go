package nftables

import (
	"bytes"
	"fmt"
	"reflect"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/vip"
)

// difference says in which way a table is not of this layout, or "". The chains
// that were made on demand are returned if they are what they should be.
func (l *layout) difference(found foundLayout) (made map[target]bool, why string) {
	for _, s := range l.all {
		f, ok := found.sets[s.name]
		if !ok {
			return nil, "there is no set " + s.name
		}
		if f.count = 0; f != s.asFound() {
			return nil, "set " + s.name + " is declared differently"
		}
	}
	if len(found.sets) != len(l.all) {
		return nil, fmt.Sprintf("there are %d sets, expected %d", len(found.sets), len(l.all))
	}
	base := map[string]bool{}
	for _, c := range l.base {
		base[c.name] = true
		if why := l.chainDifference(c, found.chains[c.name]); why != "" {
			return nil, why
		}
	}
	made = map[target]bool{}
	targets := l.targets()
	for name, f := range found.chains {
		if base[name] {
			continue
		}
		t, ok := targets[name]
		if !ok {
			return nil, "chain " + name + " is none of ours"
		}
		if why := l.chainDifference(l.chain(t), f); why != "" {
			return nil, why
		}
		made[t] = true
	}
	return made, ""
}

// asFound is the set as the kernel tells of it.
func (s *set) asFound() foundSet {
	f := foundSet{flags: s.flags(), notes: string(s.notes())}
	f.keyType, f.keySize = typeOf(s.key)
	switch {
	case s.verdicts:
		f.dataType, f.dataSize = verdictType, verdictSize
	case s.value != nil:
		f.dataType, f.dataSize = typeOf(s.value)
	}
	return f
}

// verdictSize is the size of a verdict in the kernel, on 64-bit machines.
const verdictSize = 16

func (l *layout) chainDifference(c chain, f *foundChain) string {
	switch {
	case f == nil:
		return "there is no chain " + c.name
	case !c.sameHook(f):
		return "chain " + c.name + " has another hook"
	case len(f.rules) != len(c.rules):
		return fmt.Sprintf("chain %s has %d rules, expected %d", c.name, len(f.rules), len(c.rules))
	}
	for i, r := range c.rules {
		want := []byte(nil)
		if c.comment(i) != "" {
			want = comment(c.comment(i))
		}
		if !sameExprs(l.family, f.rules[i].exprs, r.exprs) || !bytes.Equal(f.rules[i].notes, want) {
			return fmt.Sprintf("rule %d of chain %s is not %q", i+1, c.name, r.text)
		}
	}
	return ""
}

func (c chain) sameHook(f *foundChain) bool {
	if c.hook == nil {
		return f.kind == ""
	}
	return f.kind == c.hook.kind && f.hook == c.hook.number && f.priority == uint32(c.hook.priority) && f.policy == accept
}

// sameExprs compares the expressions of a rule with those that it should have, by
// what they say: the kernel lists attributes that nobody sent, and not all that were.
func sameExprs(f *family, found []byte, want []expr.Any) bool {
	i := 0
	for _, e := range attrs(found) {
		if i >= len(want) {
			return false
		}
		ours, err := expr.Marshal(f.number, want[i])
		if err != nil || text(attrOf(e, unix.NFTA_EXPR_NAME)) != text(attrOf(ours, unix.NFTA_EXPR_NAME)) {
			return false
		}
		a, b := fresh(want[i]), fresh(want[i])
		if expr.Unmarshal(f.number, attrOf(e, unix.NFTA_EXPR_DATA), a) != nil ||
			expr.Unmarshal(f.number, attrOf(ours, unix.NFTA_EXPR_DATA), b) != nil || !reflect.DeepEqual(a, b) {
			return false
		}
		i++
	}
	return i == len(want)
}

func fresh(like expr.Any) expr.Any {
	return reflect.New(reflect.TypeOf(like).Elem()).Interface().(expr.Any)
}

// targets are all chains that could be made on demand, by name.
func (l *layout) targets() map[string]target {
	all := map[string]target{}
	add := func(t target) { all[l.nameOf(t)] = t }
	for masquerades := range 1 << vip.Classes {
		var t target
		for c := range t.decisions {
			t.decisions[c].Masquerade = masquerades>>c&1 == 1
		}
		for _, tp := range transports {
			for class := uint32(1); class <= maxSlots; class *= 2 {
				t.protocol, t.class = tp.number, class
				t.nodePort = false
				add(t)
				t.nodePort = true
				add(t)
			}
		}
	}
	actions := []vip.Action{vip.Forward, vip.Reject, vip.Drop}
	for _, a := range actions {
		for _, b := range actions {
			for _, c := range actions {
				if t := (target{decisions: [vip.Classes]vip.Decision{{Action: a}, {Action: b}, {Action: c}}}); t != (target{}) {
					add(t)
				}
			}
		}
	}
	return all
}
