package nftables

import (
	"fmt"

	"github.com/signpost-dns/signpost/internal/nft"
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
		ours[s.Name] = true
	}
	for name := range found.sets {
		if !ours[name] {
			return m, "set " + name + " is none of ours"
		}
	}
	for _, s := range l.sets(m) {
		f, ok := found.sets[s.Name]
		if !ok {
			return m, "there is no set " + s.Name
		}
		if f.Count = 0; !s.Dynamic {
			f.Size = 0 // if somebody limits it, that is seen when it is full
		}
		if f != s.Info() {
			return m, "set " + s.Name + " is declared differently"
		}
	}
	chains := l.chains(m)
	ours = map[string]bool{}
	for _, c := range chains {
		ours[c.Name] = true
		if why := l.chainDifference(c, found.chains[c.Name]); why != "" {
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

// allGroups are all that there are, by name.
func allGroups() map[string]group {
	all := map[string]group{}
	for t := plain; t < treatmentCount; t++ {
		for _, node := range []bool{false, true} {
			g := group{treatment: t, node: node}
			all[g.name()] = g
			if g.affinity = t.forwards(); g.affinity {
				all[g.name()] = g
			}
		}
	}
	return all
}

func (l *layout) chainDifference(c nft.Chain, f *foundChain) string {
	switch {
	case f == nil:
		return "there is no chain " + c.Name
	case !f.Has(c.Hook):
		return "chain " + c.Name + " has another hook"
	case len(f.rules) != len(c.Rules):
		return fmt.Sprintf("chain %s has %d rules, expected %d", c.Name, len(f.rules), len(c.Rules))
	}
	for i, r := range c.Rules {
		if !l.SameRule(f.rules[i], r) {
			return fmt.Sprintf("rule %d of chain %s is not %q", i+1, c.Name, r.Text)
		}
	}
	return ""
}
