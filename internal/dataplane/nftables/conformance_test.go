package nftables

import (
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/conformance"
)

// TestConformance sends packets: see package conformance.
func TestConformance(t *testing.T) {
	b := conformance.Backend{
		Open:      func() (dataplane.Dataplane, error) { return Open(owned) },
		Sequences: 12,
	}
	if _, err := exec.LookPath("nft"); err != nil {
		b.NoState = err.Error() + " (apt-get install nftables)"
	} else {
		b.State = state
	}
	conformance.Run(t, b)
}

// state is what nft lists, in an order of its own and without regard to which of its
// slots a backend is in: that depends on the way.
func state() (string, error) {
	listing, err := exec.Command("nft", "list", "ruleset").Output()
	if err != nil {
		return "", fmt.Errorf("nft list ruleset: %w", err)
	}
	text := ""
	for table := range strings.SplitAfterSeq(string(listing), "\n}\n") {
		text += named(table)
	}
	var blocks []string
	for block := range strings.SplitSeq(sorted(text), "\ntable ") {
		var lines []string
		for line := range strings.Lines(block) {
			lines = append(lines, elements(line)...)
		}
		name := lines[0]
		// Whom clients met is not of the table.
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, " expires ") })
		if !strings.Contains(name, " chain ") { // the order of rules matters
			slices.Sort(lines[1:])
		}
		blocks = append(blocks, name+": "+strings.Join(lines[1:], "\n"+name+": "))
	}
	return strings.Join(blocks, "\n"), nil
}

// elements are the elements on a line of a listing, or the line.
func elements(line string) []string {
	line = strings.TrimSpace(line)
	if rest, first := strings.CutPrefix(line, "elements = { "); first {
		line = rest
	}
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

// named has names in place of the numbers of a table: which these are depends on the
// way too. It leaves out the clients that are remembered.
func named(table string) string {
	table = clients.ReplaceAllString(table, "$1")
	names := map[string]string{}
	for _, m := range ownerElement.FindAllStringSubmatch(table, -1) {
		names[m[3]] = "owner/" + m[2] + "/" + m[1]
	}
	for _, m := range backendElement.FindAllStringSubmatch(table, -1) {
		var high, low uint32
		fmt.Sscanf(m[1], "%x:%x", &high, &low)
		names[m[1]] = names[numberText((high<<16|low)&ownerMask)] + "/" + strings.ReplaceAll(m[2], " . ", ":")
	}
	return numberToken.ReplaceAllStringFunc(table, func(token string) string {
		if name := names[token]; name != "" {
			return name
		}
		return token
	})
}

var (
	clients        = regexp.MustCompile(`(?s)(map affinity \{[^}]*?)elements = \{[^}]*\}\n`)
	ownerElement   = regexp.MustCompile(`(tcp|udp|sctp) \. \d+ comment "([^"]*)" : ([0-9a-f]+:[0-9a-f]+)`)
	backendElement = regexp.MustCompile(`\b([0-9a-f]+:[0-9a-f]+) : ([^ ]+ \. \d+)`)
	numberToken    = regexp.MustCompile(`\b[0-9a-f]+:[0-9a-f]+\b`)
)

// slotted is a backend in a slot: 10.96.0.1 . 53 . 0 : 10.244.0.1 . 8080
var slotted = regexp.MustCompile(`^(.*) \. (\d+) : (.*)$`)
