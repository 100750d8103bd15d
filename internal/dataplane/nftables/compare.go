package nftables

import (
	"fmt"
	"reflect"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// difference says in which way a table is not of this layout, or "". It returns
// what was made on demand.
func (l *layout) difference(found foundLayout) (m made, why string) {
	m = newMade()
	groups, classes := allGroups(), allClasses()
	for name := range found.sets {
		if g, ok := groups[name]; ok {
			m.groups[g] = true
		} else if c, ok := classes[name]; ok {
			m.classes[c] = true
		} else if r, ok := parseRanges(name); ok {
			m.ranges[r] = true
		}
	}
	for name := range found.chains {
		if seconds, ok := parseTimeout(name); ok {
			m.timeouts[seconds] = true
		}
	}
	ours := map[string]bool{}
	for _, s := range l.sets(m) {
		ours[s.name] = true
	}
	for name := range found.sets {
		if !ours[name] {
			return m, "set " + name + " is none of ours"
		}
	}
	for _, s := range l.sets(m) {
		f, ok := found.sets[s.name]
		if !ok {
			return m, "there is no set " + s.name
		}
		if f.count = 0; !s.dynamic {
			f.size = 0 // if somebody limits it, that is seen when it is full
		}
		if f != s.asFound() {
			return m, "set " + s.name + " is declared differently"
		}
	}
	chains := l.chains(m)
	ours = map[string]bool{}
	for _, c := range chains {
		ours[c.name] = true
		if why := l.chainDifference(c, found.chains[c.name]); why != "" {
			return m, why
		}
	}
	for name := range found.chains {
		if !ours[name] {
			return m, "chain " + name + " is none of ours"
		}
	}
	return m, ""
}

// asFound is the set as the kernel tells of it.
func (s *set) asFound() foundSet {
	f := foundSet{flags: s.flags(), size: s.size(), notes: string(s.notes())}
	f.keyType, f.keySize = typeOf(s.key)
	if s.value != nil {
		f.dataType, f.dataSize = typeOf(s.value)
	}
	return f
}

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
		if !sameExprs(l.family, f.rules[i], r.exprs) {
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
		ours, err := marshalExpr(f, want[i])
		if err != nil || text(attrOf(e, unix.NFTA_EXPR_NAME)) != text(attrOf(ours, unix.NFTA_EXPR_NAME)) {
			return false
		}
		if o, ok := want[i].(*original); ok {
			if !o.is(attrOf(e, unix.NFTA_EXPR_DATA)) {
				return false
			}
			i++
			continue
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
