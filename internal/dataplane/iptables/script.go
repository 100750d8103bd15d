package iptables

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A script is what iptables-restore is told, by table. Each table is committed as one.
type script map[string]*part

// A part is what happens in one table, in this order.
type part struct {
	write  []chain            // made, or emptied
	remove []string           // -D lines
	insert []string           // -I lines: before what is there
	rules  map[chain][]string // of those that are written
	drop   []chain            // emptied and deleted, when nothing leads there any more
}

func (s script) in(table string) *part {
	if s[table] == nil {
		s[table] = &part{rules: map[chain][]string{}}
	}
	return s[table]
}

// put makes a chain anew with these rules.
func (s script) put(c chain, rules []string) {
	p := s.in(c.table)
	if _, again := p.rules[c]; !again {
		p.write = append(p.write, c)
	}
	p.rules[c] = rules
}

func (s script) insert(c chain, rule string) {
	p := s.in(c.table)
	p.insert = append(p.insert, "-I "+c.name+" 1 "+rule)
}

func (s script) remove(c chain, rule string) {
	p := s.in(c.table)
	p.remove = append(p.remove, "-D "+c.name+" "+rule)
}

// drop deletes a chain.
func (s script) drop(c chain) {
	p := s.in(c.table)
	p.drop = append(p.drop, c)
}

// pieces writes the differences between two pieces of a group.
func (s script) pieces(old, now piece) {
	for c, rules := range now.chains {
		if was, there := old.chains[c]; !there || !slices.Equal(was, rules) {
			s.put(c, rules)
		}
	}
	for c := range old.chains {
		if _, stays := now.chains[c]; !stays {
			s.drop(c)
		}
	}
	for c, entries := range now.entries {
		s.entries(c, old.entries[c], entries)
	}
	for c, entries := range old.entries {
		if _, stays := now.entries[c]; !stays {
			s.entries(c, entries, nil)
		}
	}
}

// entries writes the differences between a group's lines in a shared chain. Their order
// matters within a frontend, so what is there goes if anything is another.
func (s script) entries(c chain, old, now []string) {
	if slices.Equal(old, now) {
		return
	}
	for _, r := range old {
		s.remove(c, r)
	}
	for _, r := range slices.Backward(now) {
		s.insert(c, r)
	}
}

// settle takes chains off the list of those to be deleted that are written after all: a
// backend may leave one group's draw and come into another's.
func (p *part) settle() {
	p.drop = slices.DeleteFunc(p.drop, func(c chain) bool { _, written := p.rules[c]; return written })
	order := func(a, b chain) int { return cmp.Compare(a.name, b.name) }
	slices.SortFunc(p.write, order)
	slices.SortFunc(p.drop, order)
	p.drop = slices.Compact(p.drop)
}

// String prints the script. Table nat comes first, table filter last: a rule that refuses what is not
// translated must not be there before the rule that translates it. A packet between the two commits
// meets no rule and is sent again, but a client that is refused gets an error.
func (s script) String() string {
	var b bytes.Buffer
	for _, table := range slices.Backward(slices.Sorted(maps.Keys(s))) { // nat, mangle, filter
		p := s[table]
		p.settle()
		fmt.Fprintf(&b, "*%s\n", table)
		for _, c := range slices.Concat(p.write, p.drop) {
			fmt.Fprintf(&b, ":%s - [0:0]\n", c.name)
		}
		for _, line := range slices.Concat(p.remove, p.insert) {
			b.WriteString(line + "\n")
		}
		for _, c := range p.write {
			for _, r := range p.rules[c] {
				fmt.Fprintf(&b, "-A %s %s\n", c.name, r)
			}
		}
		for _, c := range p.drop {
			fmt.Fprintf(&b, "-X %s\n", c.name)
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// chains returns the chains that the script writes, changes or deletes, sorted.
func (s script) chains() (list []chain) {
	for table, p := range s {
		list = slices.Concat(list, p.write, p.drop)
		for _, line := range slices.Concat(p.remove, p.insert) {
			list = append(list, chain{table, strings.Fields(line)[1]})
		}
	}
	slices.SortFunc(list, chain.compare)
	return slices.Compact(list)
}

// private reports whether a chain belongs to one Service port alone.
func private(c chain) bool {
	return slices.ContainsFunc(ofPorts, func(prefix string) bool { return strings.HasPrefix(c.name, prefix) })
}

// maxChains is how many chains one script writes at most. What a program of the backend nft
// needs for a script grows with the square of the chains in it (4,000 Services of five backends:
// 24 s in one script, 2.3 s in pieces of this size; BenchmarkDataplane/start).
const maxChains = 1000

// cut divides a script that writes more chains of Service ports than most into several, to be
// restored in this order. Each leads only to chains that an earlier one wrote, and what leads to
// the ports comes with the last: until then a packet meets the rules as they were, but for ports
// whose chains changed.
func (s script) cut(most int) []script {
	var pieces []script
	last := script{}
	for table, p := range s {
		p.settle()
		own, shared := divide(p.write)
		if len(own) <= most {
			last[table] = p
			continue
		}
		first := script{}
		rest := *p
		rest.write = nil
		for _, c := range shared {
			if c == markMasq || c == reject { // which the ports' lead to
				first.put(c, p.rules[c])
			} else {
				rest.write = append(rest.write, c)
			}
		}
		if len(first) > 0 {
			pieces = append(pieces, first)
		}
		for some := range slices.Chunk(own, most) {
			piece := script{}
			for _, c := range some {
				piece.put(c, p.rules[c])
			}
			pieces = append(pieces, piece)
		}
		last[table] = &rest
	}
	return append(pieces, last)
}

// divide tells the chains of Service ports from those that all share. The former come in an
// order in which none leads to a later one.
func divide(chains []chain) (own, shared []chain) {
	for _, c := range chains {
		if private(c) {
			own = append(own, c)
		} else {
			shared = append(shared, c)
		}
	}
	slices.SortStableFunc(own, func(a, b chain) int { return cmp.Compare(depth(a), depth(b)) })
	return own, shared
}

// depth is how far a chain of a port is from its backends.
func depth(c chain) int {
	return slices.IndexFunc(ofPorts, func(prefix string) bool { return strings.HasPrefix(c.name, prefix) })
}
