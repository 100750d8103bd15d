package iptables

import "github.com/signpost-dns/signpost/internal/dataplane"

// tables that have rules of ours, as metrics name them.
var tables = []string{"filter", "nat"}

// tally counts rules by table.
type tally map[string]int

// piece adds the rules of a piece, or with by = -1 takes them out.
func (t tally) piece(p piece, by int) {
	for c, rules := range p.chains {
		t[c.table] += by * len(rules)
	}
	for c, entries := range p.entries {
		t[c.table] += by * len(entries)
	}
}

// script adds the rules that a script writes.
func (t tally) script(s script) {
	for table, p := range s {
		t[table] += len(p.insert)
		for _, rules := range p.rules {
			t[table] += len(rules)
		}
	}
}

// Rules implements dataplane.Counted.
func (d *Dataplane) Rules() (out []dataplane.Rules) {
	for _, f := range d.families {
		for _, table := range tables {
			out = append(out, dataplane.Rules{Table: table, IPv6: !f.v4, There: f.rules.count[table], Written: f.last[table]})
		}
	}
	return out
}
