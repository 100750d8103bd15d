package main

import (
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/agent"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// What becomes of a metric of kube-proxy.
const (
	have    = "have"    // it has kube-proxy's name and meaning
	renamed = "renamed" // what it means has another name
	without = "without" // there is nothing that it could count
)

// kubeProxyMetrics are the metrics of kube-proxy 1.30 to 1.37 whose names begin with kubeproxy_. The README says
// of each that is not here under its name why, or where it is.
var kubeProxyMetrics = []struct {
	name   string
	modes  string // in which kube-proxy has it; empty: all
	what   string
	reason string
}{
	{"conntrack_reconciler_deleted_entries_total", "", have, ""},
	{"conntrack_reconciler_sync_duration_seconds", "", have, ""},
	{"network_programming_duration_seconds", "", have, ""},
	{"proxy_healthz_total", "", have, ""},
	{"proxy_livez_total", "", have, ""},
	{"sync_proxy_rules_duration_seconds", "", have, ""},
	{"sync_full_proxy_rules_duration_seconds", "nftables iptables", have, ""},
	{"sync_partial_proxy_rules_duration_seconds", "nftables iptables", have, ""},
	{"sync_proxy_rules_endpoint_changes_pending", "", have, ""},
	{"sync_proxy_rules_endpoint_changes_total", "", have, ""},
	{"sync_proxy_rules_service_changes_pending", "", have, ""},
	{"sync_proxy_rules_service_changes_total", "", have, ""},
	{"sync_proxy_rules_last_queued_timestamp_seconds", "", have, ""},
	{"sync_proxy_rules_last_timestamp_seconds", "", have, ""},
	{"sync_proxy_rules_no_local_endpoints_total", "", have, ""},
	{"sync_proxy_rules_iptables_restore_failures_total", "iptables ipvs", have, ""},
	{"sync_proxy_rules_iptables_partial_restore_failures_total", "iptables", have, ""},
	{"sync_proxy_rules_iptables_total", "iptables", have, ""},
	{"sync_proxy_rules_iptables_last", "iptables", have, ""},
	{"sync_proxy_rules_nftables_sync_failures_total", "nftables", have, ""},
	{"sync_proxy_rules_nftables_cleanup_failures_total", "nftables", without, "what is stale is removed by the write that makes it so"},
	{"iptables_ct_state_invalid_dropped_packets_total", "iptables", renamed, "the counter of the rule: iptables -nvL KUBE-FORWARD"},
	{"iptables_localhost_nodeports_accepted_packets_total", "iptables", renamed, "the counter of the rule: iptables -t nat -nvL KUBE-SERVICES"},
	{"nftables_localhost_nodeport_listeners", "nftables", have, ""},
	{"nftables_localhost_nodeport_listener_creation_failures_total", "nftables", have, ""},
	{"nftables_localhost_nodeport_rejected_packets_total", "nftables", without, "no rule rejects packets of other protocols than TCP: nothing listens for them"},
}

// TestKubeProxyMetrics compares the metrics of each mode with kube-proxy's.
func TestKubeProxyMetrics(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, k := range kubeProxyMetrics {
		known[k.name] = true
		if k.what == have {
			continue
		}
		if k.reason == "" || !strings.Contains(string(text), "`"+k.name+"`") {
			t.Errorf("%s is %s: want a reason, and the name in the README", k.name, k.what)
		}
	}
	for _, m := range modes(&config.Config{}, slog.New(slog.DiscardHandler), nil) {
		names, mode := &names{}, m.Name
		agent.NewMetrics(names, m.Metrics, healthcheck.IPv4)
		if mode == "iptables" { // see TestOpenRegistersMetrics of its package
			names.list = append(names.list, "kubeproxy_sync_proxy_rules_iptables_total", "kubeproxy_sync_proxy_rules_iptables_last")
		}
		for _, k := range kubeProxyMetrics {
			want := k.what == have && (k.modes == "" || slices.Contains(strings.Fields(k.modes), mode))
			if got := slices.Contains(names.list, "kubeproxy_"+k.name); want && !got {
				t.Errorf("mode %s has no kubeproxy_%s", mode, k.name)
			} else if got && k.what != have {
				t.Errorf("mode %s has kubeproxy_%s, which the table calls %s", mode, k.name, k.what)
			} else if got && !want && !strings.Contains(k.modes, "nftables iptables") {
				t.Errorf("mode %s has kubeproxy_%s, which kube-proxy has in %s alone", mode, k.name, k.modes)
			}
		}
		for _, name := range names.list {
			if short, ours := strings.CutPrefix(name, "kubeproxy_"); ours && !known[short] {
				t.Errorf("mode %s has %s, which is none of kube-proxy's", mode, name)
			}
		}
	}
}

// names registers collectors by writing down their names.
type names struct{ list []string }

var nameOf = regexp.MustCompile(`fqName: "([^"]*)"`)

// Register implements prometheus.Registerer.
func (n *names) Register(c prometheus.Collector) error {
	to := make(chan *prometheus.Desc, 100)
	c.Describe(to)
	close(to)
	for d := range to {
		n.list = append(n.list, nameOf.FindStringSubmatch(d.String())[1])
	}
	return nil
}

// MustRegister implements prometheus.Registerer.
func (n *names) MustRegister(list ...prometheus.Collector) {
	for _, c := range list {
		_ = n.Register(c)
	}
}

// Unregister implements prometheus.Registerer.
func (n *names) Unregister(prometheus.Collector) bool { return false }
