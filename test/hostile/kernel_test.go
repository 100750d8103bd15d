package hostile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// rules are the rules of a node in a form that does not depend on the way to them: without handles, counters, clients that are
// remembered and numbers that are given out in the order of changes.
func (r *rig) rules() (string, error) {
	listing, err := r.tool("nft", "list", "ruleset")
	if err != nil {
		return "", err
	}
	var blocks []string
	for table := range strings.SplitAfterSeq(listing, "\n}\n") {
		blocks = append(blocks, tableText(table)...)
	}
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		listing, err := r.tool(program)
		if err != nil {
			return "", err
		}
		blocks = append(blocks, chainTexts(program, listing)...)
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "\n"), nil
}

// ofIptables are the tables that iptables makes and never removes: they are listed by it.
var ofIptables = regexp.MustCompile(`^(# Warning[^\n]*\n)?table ip6? (nat|filter|mangle|raw|security) \{`)

// tableText is a table of nftables, a text for each set, map and chain.
func tableText(table string) (blocks []string) {
	if strings.TrimSpace(table) == "" || ofIptables.MatchString(strings.TrimSpace(table)) {
		return nil
	}
	table = withNames(clients.ReplaceAllString(table, "$1"))
	name, rest, _ := strings.Cut(strings.TrimSpace(table), "\n")
	for block := range strings.SplitSeq(rest, "\n\t}\n") {
		var lines []string
		for line := range strings.Lines(block) {
			lines = append(lines, elementsOf(line)...)
		}
		lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" || l == "}" || strings.Contains(l, " expires ") })
		if len(lines) == 0 {
			continue
		}
		if !strings.HasPrefix(lines[0], "chain ") { // the order of rules matters
			slices.Sort(lines[1:])
		}
		blocks = append(blocks, name+" "+lines[0]+"\n  "+strings.Join(lines[1:], "\n  "))
	}
	return blocks
}

// elementsOf are the elements on a line of a listing, or the line. The slot of a backend is given apart from where it leads.
func elementsOf(line string) []string {
	line = strings.TrimSpace(line)
	line = strings.TrimPrefix(line, "elements = { ")
	line = strings.TrimSuffix(strings.TrimSuffix(line, " }"), ",")
	all := []string{line}
	if !strings.Contains(line, `"`) {
		all = strings.Split(line, ", ")
	}
	for i, e := range all {
		if slot := slotted.FindStringSubmatch(e); slot != nil {
			all[i] = slot[1] + " has slot " + slot[2]
			all = append(all, slot[1]+" leads to "+slot[3])
		}
	}
	return all
}

// withNames has names in place of the numbers of Service ports and backends.
func withNames(table string) string {
	names := map[string]string{}
	for _, m := range ownerElement.FindAllStringSubmatch(table, -1) {
		names[m[3]] = "owner/" + m[2] + "/" + m[1]
	}
	for _, m := range backendElement.FindAllStringSubmatch(table, -1) {
		var high, low uint32
		fmt.Sscanf(m[1], "%x:%x", &high, &low)
		number := (high<<16 | low) &^ 0xffff
		names[m[1]] = names[fmt.Sprintf("%x:%x", number>>16, number&0xffff)] + "/" + strings.ReplaceAll(m[2], " . ", ":")
	}
	return numberToken.ReplaceAllStringFunc(table, func(token string) string {
		if name := names[token]; name != "" {
			return name
		}
		return token
	})
}

var (
	clients        = regexp.MustCompile(`(?s)(map affinity[a-z-]* \{[^}]*?\n)\t*elements = \{[^}]*\}\n`)
	ownerElement   = regexp.MustCompile(`(tcp|udp|sctp) \. \d+ comment "([^"]*)" : ([0-9a-f]+:[0-9a-f]+)`)
	backendElement = regexp.MustCompile(`\b([0-9a-f]+:[0-9a-f]+) : ([^ ]+ \. \d+)`)
	numberToken    = regexp.MustCompile(`\b[0-9a-f]+:[0-9a-f]+\b`)
	slotted        = regexp.MustCompile(`^(.*) \. (\d+) : (.*)$`)
)

// chainTexts are the chains of Kubernetes that iptables has, and the rules that lead there. KUBE-FIREWALL is the kubelet's too,
// and stays.
func chainTexts(program, listing string) (blocks []string) {
	table, chains := "", map[string][]string{}
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line
		case !strings.Contains(line, "KUBE-") || strings.Contains(line, "KUBE-FIREWALL"):
		case strings.HasPrefix(line, ":"):
			name, _, _ := strings.Cut(line[1:], " ")
			chains[table+" "+name] = append(chains[table+" "+name], "")
		case strings.HasPrefix(line, "-A "):
			chain, rule, _ := strings.Cut(line[len("-A "):], " ")
			chains[table+" "+chain] = append(chains[table+" "+chain], rule)
		}
	}
	for name, rules := range chains {
		if !ordered.MatchString(name) {
			slices.Sort(rules)
		}
		blocks = append(blocks, program+" "+name+"\n  "+strings.Join(rules, "\n  "))
	}
	return blocks
}

// ordered are the chains of single Services, in which the order of rules matters.
var ordered = regexp.MustCompile(`KUBE-(SVC|SVL|EXT|SEP|FW|XLB)-`)

// unlike lists the lines that only one of two texts has.
func unlike(want, got string) string {
	var b strings.Builder
	wanted, has := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range wanted {
		if !slices.Contains(has, line) {
			fmt.Fprintf(&b, "-%s\n", line)
		}
	}
	for _, line := range has {
		if !slices.Contains(wanted, line) {
			fmt.Fprintf(&b, "+%s\n", line)
		}
	}
	if b.Len() == 0 && want != got {
		return want + "\nis in another order:\n" + got
	}
	return b.String()
}
