package iptables

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// tables that have rules of ours, as metrics name them.
var tables = []string{"filter", "nat"}

// tally counts rules by table.
type tally map[string]int

// piece adds the rules of a piece, or with by = -1 takes them out.
func (t tally) piece(p piece, by int) {
	for c, rules := range p.chains {
		t[c.table] += by * len(rules)
	}
	for c, entries := range p.entries {
		t[c.table] += by * len(entries)
	}
}

// script adds the rules that a script writes.
func (t tally) script(s script) {
	for table, p := range s {
		t[table] += len(p.insert)
		for _, rules := range p.rules {
			t[table] += len(rules)
		}
	}
}

// metrics are kube-proxy's about rules of iptables.
type metrics struct{ there, written *prometheus.GaugeVec }

func newMetrics() metrics {
	gauges := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"table", "ip_family"})
	}
	return metrics{
		there:   gauges("kubeproxy_sync_proxy_rules_iptables_total", "Rules in the forwarder's chains."),
		written: gauges("kubeproxy_sync_proxy_rules_iptables_last", "Rules written by the last write."),
	}
}

func (m metrics) register(to prometheus.Registerer) error {
	if to == nil {
		return nil
	}
	return errors.Join(to.Register(m.there), to.Register(m.written))
}

// count sets the metrics after a write.
func (m metrics) count(families []*family) {
	for _, f := range families {
		name := "IPv6"
		if f.v4 {
			name = "IPv4"
		}
		for _, table := range tables {
			m.there.WithLabelValues(table, name).Set(float64(f.rules.count[table]))
			m.written.WithLabelValues(table, name).Set(float64(f.last[table]))
		}
	}
}
