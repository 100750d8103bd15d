package iptables

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// The counts are those of the rules, whatever changed since the start.
func TestCountsFollowTheRules(t *testing.T) {
	rules := newRuleset(&testHost, true, false)
	check := func(when string) {
		t.Helper()
		want := tally{}
		for c, list := range rules.tables() {
			want[c.table] += len(list)
		}
		if diff := cmp.Diff(want, rules.count); diff != "" {
			t.Errorf("%s (-rules +counts):\n%s", when, diff)
		}
	}
	check("nothing")
	table := everything()
	rules.change(table.Additions())
	check("everything")
	for _, service := range slices.Collect(table.Services()) {
		rules.change(table.Set(service, nil))
		check("without " + service.String())
	}
}

// iptables-save lists as many rules in our chains as are counted, and one backend is written by few.
func TestRulesOfMetrics(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			netlab.OwnNetwork(t)
			table := many(20)
			d := open(t, tools)
			if err := d.Sync(t.Context(), testHost, table); err != nil {
				t.Fatal(err)
			}
			for _, r := range d.Rules() {
				if r.IPv6 {
					continue
				}
				out, err := exec.Command(tools.Save, "-t", r.Table).Output()
				if err != nil {
					t.Fatal(err)
				}
				listed := strings.Count(string(out), "\n-A KUBE-")
				if r.There != listed || r.Written < listed {
					t.Errorf("%+v, and %s lists %d", r, tools.Save, listed)
				}
			}
			if _, err := d.Apply(t.Context(), table.Set(serviceKey(3), nil)); err != nil {
				t.Fatal(err)
			}
			before := d.Rules()
			if _, err := d.Apply(t.Context(), table.Set(serviceKey(3), []*vip.Route{serviceRoute(3, 0)})); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(d.Rules(), func(r dataplane.Rules) bool { return r.Table == nat && !r.IPv6 })
			if added := d.Rules()[i].There - before[i].There; added == 0 || d.Rules()[i].Written != added {
				t.Errorf("%d rules more and %d written, want the rules of one Service", added, d.Rules()[i].Written)
			}
		})
	}
}
