package iptables

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// saved writes a listing as iptables-save does.
func saved(l listing) string {
	var b strings.Builder
	tables := map[string][]chain{}
	for _, c := range slices.SortedFunc(maps.Keys(l), func(a, b chain) int { return strings.Compare(a.table+" "+a.name, b.table+" "+b.name) }) {
		tables[c.table] = append(tables[c.table], c)
	}
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		fmt.Fprintf(&b, "*%s\n", table)
		for _, c := range tables[table] {
			fmt.Fprintf(&b, ":%s - [0:0]\n", c.name)
		}
		for _, c := range tables[table] {
			for _, r := range l[c] {
				fmt.Fprintf(&b, "-A %s %s\n", c.name, r)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// restored is what a listing becomes by a script: a slow twin of iptables-restore --noflush.
func restored(there listing, s script) listing {
	now := listing{}
	for c, rules := range there {
		now[c] = slices.Clone(rules)
	}
	for table, p := range s {
		for _, c := range p.write {
			now[c] = slices.Clone(p.rules[c])
		}
		for _, line := range p.remove {
			name, rule, _ := strings.Cut(strings.TrimPrefix(line, "-D "), " ")
			c := chain{table, name}
			if i := slices.Index(now[c], rule); i >= 0 {
				now[c] = slices.Delete(now[c], i, i+1)
			}
		}
		for _, line := range p.insert {
			name, rule, _ := strings.Cut(strings.TrimPrefix(line, "-I "), " 1 ")
			c := chain{table, name}
			now[c] = slices.Insert(now[c], 0, rule)
		}
		for _, c := range p.drop {
			delete(now, c)
		}
	}
	return now
}

// Whatever iptables-save prints, it is an error or a listing; what is written because of it makes
// our rules right, all at once, and leaves the chains of other programs alone.
func FuzzRepair(f *testing.F) {
	rules := newRuleset(&testHost, true, false)
	rules.change(many(2).Additions())
	want := rules.tables()
	ours := saved(want)
	f.Add("")
	f.Add(ours)
	f.Add(strings.ReplaceAll(ours, "KUBE-SVC", "KUBE-OLD"))
	f.Add("# Generated\n*nat\n:PREROUTING ACCEPT [5:300]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n-A DOCKER -i docker0 -j RETURN\nCOMMIT\n")
	f.Add("*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment \"a \\\"b\" -j KUBE-OTHER-PORTS\n-A INPUT -j KUBE-OTHER-PORTS\nCOMMIT\n")
	f.Add("*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\n-A KUBE-SERVICES -d 10.0.0.1/32 -j KUBE-SVC-AAAAAAAAAAAAAAAA\nCOMMIT\n")
	f.Fuzz(func(t *testing.T, text string) {
		there, err := parse([]byte(text))
		if err != nil {
			return
		}
		s := rules.repair(there, want)
		now := restored(there, s)
		for c, list := range there {
			if _, wanted := want[c]; wanted || private(c) {
				continue
			}
			isOurs := func(r string) bool {
				return strings.HasSuffix(r, "-j "+otherPorts.name) || slices.ContainsFunc(rules.jumps(), func(j jump) bool {
					return j.from == c && canonical(j.rule.String()) == canonical(r)
				})
			}
			before := slices.DeleteFunc(slices.Clone(list), isOurs)
			after := slices.DeleteFunc(slices.Clone(now[c]), isOurs)
			if !slices.Equal(before, after) {
				t.Fatalf("chain %v of another program is %q, was %q", c, after, before)
			}
		}
		if again := rules.repair(now, want).chains(); len(again) > 0 {
			t.Fatalf("after the repair these chains are to be repaired: %v", again)
		}
	})
}
