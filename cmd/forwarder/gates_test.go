package main

import (
	"strings"
	"testing"
)

// The plan of a node with AllowServiceExternalIPs=false has no external IP and says whose is left out.
func TestPlanWithoutExternalIPs(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables", "ipvs"} {
		out, err := do(t, "plan", "--manifests=testdata/explain", "--hostname-override=node-1", "--proxy-mode="+mode, "--feature-gates=AllowServiceExternalIPs=false")
		if err != nil {
			t.Fatal(err)
		}
		const line = "# spec.externalIPs of shop/web is not programmed (feature gate AllowServiceExternalIPs=false): 203.0.113.80, 198.51.100.9\n"
		if !strings.Contains(out, line) || strings.Count(out, "203.0.113.80") != 1 || !strings.Contains(out, "198.51.100.9 tcp 80 LoadBalancer shop/web") {
			t.Errorf("mode %s: want %q, no rule for 203.0.113.80 and the load balancer's:\n%s", mode, line, out)
		}
	}
}
