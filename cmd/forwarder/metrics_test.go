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
