package iptables

import (
	"context"
	"flag"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/conformance"
)

// TestConformance sends packets: see package conformance.
func TestConformance(t *testing.T) {
	for _, tools := range backends(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			conformance.Run(t, conformance.Backend{
				Open:  func() (dataplane.Dataplane, error) { return Open(Options{Tools: tools}) },
				State: func() (string, error) { return state(tools) },
				Check: check, Proven: true,
			})
		})
	}
}

// state is what iptables-save lists of both families, in an order of its own where the
// order does not matter.
func state(tools Tools) (string, error) {
	var lines []string
	for _, v4 := range []bool{true, false} {
		f := family{Tools: tools.of(v4)}
		there, err := f.save(context.Background())
		if err != nil {
			return "", err
		}
		for c, rules := range there {
			if !private(c) {
				slices.Sort(rules)
			}
			lines = append(lines, f.Save+" "+c.table+" "+c.name+":\n  "+strings.Join(rules, "\n  "))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n"), nil
}

// check has rapid choose. A hundred sequences of packets would take long.
func check(t *testing.T, property func(conformance.Choose) error) {
	checks := flag.Lookup("rapid.checks").Value
	if usual := checks.String(); usual == "100" {
		checks.Set("4")
		defer checks.Set(usual)
	}
	rapid.Check(t, func(rt *rapid.T) {
		choose := func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(rt, label) }
		if err := property(choose); err != nil {
			rt.Fatal(err)
		}
	})
}
