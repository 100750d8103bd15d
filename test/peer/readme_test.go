package peer

import (
	"os"
	"strings"
	"testing"
)

// Every deviation of the list stands in the plugin's README, with a rule behind it.
func TestDeviationsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../plugin/signpost/README.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, d := range deviations {
		if d.what == "" || d.rule == "" || seen[d.id] {
			t.Errorf("%s: want what it is and the rule, once", d.id)
		}
		seen[d.id] = true
		if !strings.Contains(string(text), "| "+d.id+" |") && !strings.Contains(string(text), "("+d.id+")") {
			t.Errorf("%s is not in the README of the plugin: %s", d.id, d.what)
		}
	}
}
