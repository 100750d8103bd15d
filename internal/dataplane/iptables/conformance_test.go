package iptables

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/conformance"
)

// TestConformance sends packets: see package conformance.
func TestConformance(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			conformance.Run(t, conformance.Backend{
				Open:      func() (dataplane.Dataplane, error) { return Open(Options{Tools: tools}) },
				State:     func() (string, error) { return state(tools) },
				Sequences: 5, Proven: true,
				Lacks: map[string]string{conformance.DropsUnused: "it leaves that to the routes, as kube-proxy's mode iptables does"},
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
