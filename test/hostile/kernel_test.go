package hostile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/signpost-dns/signpost/test/listing"
)

// rules are the rules of a node in a form that does not depend on the way to them: without handles, counters, clients that are
// remembered and numbers that are given out in the order of changes.
func (r *rig) rules() (string, error) {
	ruleset, err := r.tool("nft", "list", "ruleset")
	if err != nil {
		return "", err
	}
	blocks := listing.Blocks(ruleset)
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		saved, err := r.tool(program)
		if err != nil {
			return "", err
		}
		blocks = append(blocks, chainTexts(program, saved)...)
	}
	slices.Sort(blocks)
	return strings.Join(blocks, "\n"), nil
}

// chainTexts are the chains of Kubernetes that iptables has, and the rules that lead there. KUBE-FIREWALL is the kubelet's too,
// and stays.
func chainTexts(program, saved string) (blocks []string) {
	table, chains := "", map[string][]string{}
	for line := range strings.Lines(saved) {
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
