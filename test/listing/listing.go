// Package listing brings what nft lists into a form that does not depend on the way to it, so that a test can compare
// the state of a kernel after random changes with that after a fresh start. It runs no program.
package listing

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Blocks are the sets, maps and chains of a listing by nft, a text for each, sorted: without the clients that affinity
// remembers, with names in place of numbers that are given out in the order of changes, and with the elements in an order
// of their own. Tables that iptables makes are left out: iptables lists them.
func Blocks(ruleset string) []string {
	var blocks []string
	for table := range strings.SplitAfterSeq(ruleset, "\n}\n") {
		blocks = append(blocks, tableBlocks(table)...)
	}
	slices.Sort(blocks)
	return blocks
}

// ofIptables are the tables that iptables makes and never removes.
var ofIptables = regexp.MustCompile(`^(# Warning[^\n]*\n)?table ip6? (nat|filter|mangle|raw|security) \{`)

// tableBlocks are the blocks of one table.
func tableBlocks(table string) (blocks []string) {
	table = strings.TrimSpace(table)
	if table == "" || ofIptables.MatchString(table) {
		return nil
	}
	name, rest, _ := strings.Cut(withNames(clients.ReplaceAllString(table, "$1")), "\n")
	if flags, after, _ := strings.Cut(rest, "\n"); strings.HasPrefix(strings.TrimSpace(flags), "flags ") {
		blocks, rest = append(blocks, name+" "+strings.TrimSpace(flags)), after
	}
	for block := range strings.SplitSeq(rest, "\n\t}\n") {
		var lines []string
		for line := range strings.Lines(block) {
			lines = append(lines, elements(line)...)
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

// elements are the elements on a line of a listing, or the line. The slot of a backend is given apart from where it leads.
func elements(line string) []string {
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

// Of a number, ownerBits tell the Service port. Below them are its backend or, in the number of the Service port itself, the
// step of its timeout; above them is which of both it is.
const (
	ownerBits = 0x3fffc000
	lowBits   = 0x00003fff
)

// withNames has names in place of the numbers of Service ports and backends.
func withNames(table string) string {
	names, owners := map[string]string{}, map[uint32]string{}
	for _, m := range ownerElement.FindAllStringSubmatch(table, -1) {
		n := number(m[3])
		owners[n&ownerBits] = m[2] + "/" + m[1]
		names[m[3]] = fmt.Sprintf("%s/%s step %d", m[2], m[1], n&lowBits)
	}
	for _, m := range backendElement.FindAllStringSubmatch(table, -1) {
		names[m[1]] = owners[number(m[1])&ownerBits] + "/" + strings.ReplaceAll(m[2], " . ", ":")
	}
	return numberToken.ReplaceAllStringFunc(table, func(token string) string {
		if name := names[token]; name != "" {
			return name
		}
		return token
	})
}

// number reads a priority as nft prints it: as a traffic class.
func number(text string) uint32 {
	var high, low uint32
	fmt.Sscanf(text, "%x:%x", &high, &low)
	return high<<16 | low
}

var (
	clients        = regexp.MustCompile(`(?s)(map affinity[a-z-]* \{[^}]*?\n)\t*elements = \{[^}]*\}\n`)
	ownerElement   = regexp.MustCompile(`(tcp|udp|sctp) \. \d+ comment "([^"]*)" : ([0-9a-f]+:[0-9a-f]+)`)
	backendElement = regexp.MustCompile(`\b([0-9a-f]+:[0-9a-f]+) : ([^ ]+ \. \d+)`)
	numberToken    = regexp.MustCompile(`\b[0-9a-f]+:[0-9a-f]+\b`)
	// slotted is a backend in a slot: 10.96.0.1 . 53 . 0 : 10.244.0.1 . 8080
	slotted = regexp.MustCompile(`^(.*) \. (\d+) : (.*)$`)
)
