package iptables

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

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
			there := func(table string) int { return gauge(t, d.metrics.there, table) }
			written := func(table string) int {
				return gauge(t, d.metrics.written, table)
			}
			for _, table := range tables {
				out, err := exec.Command(tools.Save, "-t", table).Output()
				if err != nil {
					t.Fatal(err)
				}
				listed := strings.Count(string(out), "\n-A KUBE-")
				if there(table) != listed || written(table) < listed {
					t.Errorf("%s: %d rules and %d written, and %s lists %d", table, there(table), written(table), tools.Save, listed)
				}
			}
			if _, err := d.Apply(t.Context(), table.Set(serviceKey(3), nil)); err != nil {
				t.Fatal(err)
			}
			before := there(nat)
			if _, err := d.Apply(t.Context(), table.Set(serviceKey(3), []*vip.Route{serviceRoute(3, 0)})); err != nil {
				t.Fatal(err)
			}
			if added := there(nat) - before; added == 0 || written(nat) != added {
				t.Errorf("%d rules more and %d written, want the rules of one Service", added, written(nat))
			}
		})
	}
}

// Open registers the metrics that kube-proxy has in mode iptables alone.
func TestOpenRegistersMetrics(t *testing.T) {
	for _, tools := range installed(t) {
		t.Run(tools.Backend(), func(t *testing.T) {
			netlab.OwnNetwork(t)
			registry := prometheus.NewRegistry()
			d, err := Mode(Options{Tools: tools, Registry: registry}).Open()
			if err == nil {
				err = d.Sync(t.Context(), testHost, many(1))
			}
			if err != nil {
				t.Fatal(err)
			}
			families, err := registry.Gather()
			var names []string
			for _, f := range families {
				names = append(names, f.GetName())
			}
			if want := []string{"kubeproxy_sync_proxy_rules_iptables_last", "kubeproxy_sync_proxy_rules_iptables_total"}; err != nil || !slices.Equal(names, want) {
				t.Errorf("metrics %v, %v, want %v", names, err, want)
			}
		})
	}
}

// gauge returns the value for a table of IPv4.
func gauge(t *testing.T, of *prometheus.GaugeVec, table string) int {
	t.Helper()
	var m dto.Metric
	if err := of.WithLabelValues(table, "IPv4").Write(&m); err != nil {
		t.Fatal(err)
	}
	return int(m.GetGauge().GetValue())
}
