package iptables

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// A listing is what iptables-save or iptables -S says: the rules of chains, without their names.
type listing map[chain][]string

// parse reads the output of iptables-save. Counters and policies are passed over.
func parse(text []byte) (listing, error) {
	there := listing{}
	table := ""
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		switch {
		case line == "" || line[0] == '#' || line == "COMMIT":
		case line[0] == '*':
			table = line[1:]
		case line[0] == ':':
			name, _, _ := strings.Cut(line[1:], " ")
			there[chain{table, name}] = nil
		case strings.HasPrefix(line, "-A "):
			name, rule, _ := strings.Cut(line[len("-A "):], " ")
			c := chain{table, name}
			there[c] = append(there[c], rule)
		default:
			return nil, fmt.Errorf("line %d of iptables-save: %q: expected a table, a chain or a rule", n, line)
		}
	}
	return there, lines.Err()
}

// canonical makes texts of the same rule equal: the programs differ in the order in
// which they print matches, and in quotes.
func canonical(rule string) string {
	var groups []string
	for _, word := range words(rule) {
		begins := word == "-m" || word == "!" || len(word) == 2 && word[0] == '-'
		if begins && (len(groups) == 0 || groups[len(groups)-1] != "!") || len(groups) == 0 {
			groups = append(groups, word)
			continue
		}
		groups[len(groups)-1] += " " + word
	}
	slices.Sort(groups)
	// A match of the protocol without any option says nothing that -p does not.
	groups = slices.DeleteFunc(groups, func(g string) bool { return g == "-m tcp" || g == "-m udp" || g == "-m sctp" })
	return strings.Join(groups, " ")
}

// words splits a rule as a shell would.
func words(rule string) []string {
	var list []string
	var word strings.Builder
	quoted, any := false, false
	for i := 0; i < len(rule); i++ {
		switch c := rule[i]; {
		case c == '"':
			quoted, any = !quoted, true
		case c == '\\' && i+1 < len(rule):
			i++
			word.WriteByte(rule[i])
		case c == ' ' && !quoted:
			if any || word.Len() > 0 {
				list = append(list, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteByte(c)
		}
	}
	if any || word.Len() > 0 {
		list = append(list, word.String())
	}
	return list
}

// alike reports whether two lists are the same rules in the same order.
func alike(a, b []string) bool {
	return slices.EqualFunc(a, b, func(x, y string) bool { return x == y || canonical(x) == canonical(y) })
}

// repair is the script that makes what is there what should be. It writes nothing where
// nothing differs, and leaves the rules of others alone.
func repair(there listing, want map[chain][]string, jumps []jump, ends map[chain][]string) script {
	s := script{}
	for c, rules := range want {
		has, exists := there[c]
		switch {
		case c == kubeFirewall:
			s.amend(c, exists, has, rules)
		case private(c) || len(rules) == len(ends[c]):
			if !exists || !alike(has, rules) {
				s.put(c, rules)
			}
		case !exists:
			s.put(c, rules)
		default:
			s.shared(c, has, rules, ends[c])
		}
	}
	for c := range there {
		if _, wanted := want[c]; !wanted && (c.table == nat || c.table == filter) && private(c) {
			s.drop(c)
		}
	}
	s.removeJumps(there, jumps)
	for _, j := range slices.Backward(jumps) {
		rule := j.rule.String()
		if !slices.ContainsFunc(there[j.from], func(r string) bool { return canonical(r) == canonical(rule) }) {
			s.insert(j.from, rule)
		}
	}
	return s
}

// removeJumps removes jumps to the chain of unused ports that are not wanted: an earlier
// version had others. The chain is ours alone.
func (s script) removeJumps(there listing, jumps []jump) {
	for c, rules := range there {
		for _, r := range rules {
			wanted := slices.ContainsFunc(jumps, func(j jump) bool { return j.from == c && canonical(j.rule.String()) == canonical(r) })
			if c.table == filter && strings.HasSuffix(r, "-j "+otherPorts.name) && !wanted {
				s.remove(c, r)
			}
		}
	}
}

// shared writes the difference in a chain that many Service ports have lines in. The order
// of these lines does not matter, but for those of one frontend, which lie together; the end does.
func (s script) shared(c chain, has, want, end []string) {
	if len(has) < len(end) || !alike(has[len(has)-len(end):], end) {
		s.put(c, want)
		return
	}
	has, want = has[:len(has)-len(end)], want[:len(want)-len(end)]
	if differ(has, want) {
		s.put(c, slices.Concat(want, end))
	}
}

// differ reports whether two lists are other rules, in whatever order. Most have one text, and what that says is
// worked out for the others alone.
func differ(a, b []string) bool {
	a, b = apart(a, b, func(rule string) string { return rule })
	a, b = apart(a, b, canonical)
	return len(a)+len(b) > 0
}

// apart returns what each of two lists has more than the other, by a form of the rules.
func apart(a, b []string, form func(string) string) (onlyA, onlyB []string) {
	more := map[string]int{} // in b
	for _, r := range b {
		more[form(r)]++
	}
	for _, r := range a {
		if f := form(r); more[f] > 0 {
			more[f]--
		} else {
			onlyA = append(onlyA, r)
		}
	}
	for _, r := range b {
		if f := form(r); more[f] > 0 {
			more[f]--
			onlyB = append(onlyB, r)
		}
	}
	return onlyA, onlyB
}

// amend adds rules to a chain that others write, too.
func (s script) amend(c chain, exists bool, has, want []string) {
	if !exists {
		s.put(c, want)
		return
	}
	for _, rule := range want {
		if !slices.ContainsFunc(has, func(r string) bool { return canonical(r) == canonical(rule) }) {
			s.insert(c, rule)
		}
	}
}
