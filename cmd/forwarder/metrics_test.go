package main

import (
	"os"
	"regexp"
	"strings"
)

// metricsAreDocumented looks whether the README has every metric of ours.
func (p *process) metricsAreDocumented() {
	p.t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		p.t.Fatal(err)
	}
	_, page := p.get("http://127.0.0.1:10249/metrics")
	all := regexp.MustCompile(`(?m)^# TYPE (kubeproxy|signpost)_(\S+)`).FindAllStringSubmatch(page, -1)
	if len(all) < 15 {
		p.t.Fatalf("only %d metrics:\n%s", len(all), page)
	}
	for _, m := range all {
		// A row may name several, of which those after the first begin or end in an ellipsis.
		name := m[2]
		for _, cut := range []string{"sync_proxy_rules", "conntrack_reconciler"} {
			if rest, ok := strings.CutPrefix(name, cut+"_"); ok && strings.Contains(string(readme), "`…_"+rest+"`") {
				name = ""
			}
		}
		for _, cut := range []string{"sync_full_", "sync_partial_"} {
			if strings.HasPrefix(name, cut) {
				name = cut + "…"
			}
		}
		if name != "" && !strings.Contains(string(readme), "`"+name+"`") {
			p.t.Errorf("the README does not know the metric %s_%s", m[1], m[2])
		}
	}
}

// describesItself looks for the metrics that kube-proxy has from Kubernetes' libraries, and for those that say what
// this process is.
func (p *process) describesItself() {
	p.t.Helper()
	_, page := p.get("http://127.0.0.1:10249/metrics")
	for _, want := range []string{
		`rest_client_requests_total\{code="200",host="127.0.0.1:\d+",method="GET"\} `,
		`rest_client_request_duration_seconds_count\{host="127.0.0.1:\d+",verb="GET"\} `,
		`rest_client_rate_limiter_duration_seconds_count\{`,
		`kubeproxy_sync_proxy_rules_service_changes_total [1-9]`,
		`kubeproxy_sync_proxy_rules_endpoint_changes_total [1-9]`,
		`kubeproxy_sync_proxy_rules_endpoint_changes_pending 0\n`,
		`signpost_build_info\{goarch="[a-z0-9]+",goos="linux",goversion="go1[^"]*",revision="[^"]*",version="[^"]+"\} 1\n`,
		`signpost_mode_info\{mode="nftables"\} 1\n`,
		`go_goroutines `,
		`process_resident_memory_bytes `,
	} {
		if !regexp.MustCompile(want).MatchString(page) {
			p.t.Errorf("no metric %s in\n%s", want, page)
		}
	}
}
