package main

import (
	"os"
	"strings"
	"testing"
)

// The commands of the README that need no cluster show a Service that has endpoints.
func TestExamplesOfTheReadme(t *testing.T) {
	t.Chdir("../..")
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for line := range strings.Lines(strings.ReplaceAll(string(text), " \\\n", "")) {
		args, is := strings.CutPrefix(strings.TrimSpace(line), "go run ./cmd/forwarder ")
		if !is || !strings.Contains(args, "--manifests") {
			continue
		}
		found++
		out, err := do(t, strings.Fields(args)...)
		if err != nil || !strings.Contains(out, "-> 10.244.1.2:8080*") || strings.Contains(out, "no Node object") {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
	if found != 2 {
		t.Errorf("%d commands found, want one of plan and one of explain", found)
	}
}
