package iptables

import (
	"cmp"
	"slices"
	"strings"
)

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
