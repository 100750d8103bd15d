package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExplain asks about packets in the manifests of testdata/explain.
func TestExplain(t *testing.T) {
	const flags = " --manifests=testdata/explain --hostname-override=node-1 "
	var got strings.Builder
	for _, args := range []string{
		"10.244.1.9 10.96.0.20:80" + flags + "--cluster-cidr=10.244.0.0/16",
		"10.244.2.9 10.96.0.20:80/tcp" + flags + "--detect-local-mode=NodeCIDR",
		"10.244.1.9@eth1 10.96.0.20:80/TCP" + flags + "--detect-local-mode=BridgeInterface --pod-bridge-interface=cni0",
		"203.0.113.7 198.51.100.9:80" + flags + "--cluster-cidr=10.244.0.0/16",
		"10.244.1.9 198.51.100.9:80" + flags + "--cluster-cidr=10.244.0.0/16",
		"203.0.113.7 192.0.2.1:30080" + flags,
		"203.0.113.7 192.0.2.1:32000" + flags,
		"203.0.113.7 192.0.2.1:30080" + flags + "--nodeport-addresses=192.0.3.0/24",
		"10.244.1.9 10.96.0.20:81/udp" + flags,
		"10.244.1.9 10.96.0.99:80" + flags,
		"10.244.1.9 198.51.100.30:80" + flags, // another proxy's
		"203.0.113.7 203.0.113.80:80" + flags,
		"203.0.113.7 203.0.113.80:80" + flags + "--feature-gates=AllowServiceExternalIPs=false",
		"203.0.113.7 198.51.100.9:80" + flags + "--feature-gates=AllowServiceExternalIPs=false", // of a load balancer
		"10.244.1.9 10.96.0.40:80" + flags,                                                      // its slice is only to be resolved
		"pod/shop/client web.shop:http" + flags + "--cluster-cidr=10.244.0.0/16",
		"pod/client dns.shop.svc.cluster.local:53" + flags, // of UDP only
		"203.0.113.7 192.0.2.2:30080" + flags,              // another node's address
		"203.0.113.7 127.0.0.1:30080" + flags,
		"203.0.113.7 10.96.0.50:80" + flags + "--proxy-mode=ipvs",
		"203.0.113.7 10.96.0.50:80 --manifests=testdata/explain --hostname-override=nosuch",
	} {
		out, err := do(t, append([]string{"explain"}, strings.Fields(args)...)...)
		if err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		packet, rest, _ := strings.Cut(args, flags)
		got.WriteString("# explain " + strings.TrimSpace(packet+" "+rest) + "\n" + out + "\n")
	}
	const golden = "testdata/explain.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExplainRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"":                             "want forwarder explain SOURCE",
		"10.0.0.1":                     "want forwarder explain SOURCE",
		"--manifests=x 10.0.0.1 1.2.3": `destination: got "1.2.3", want an address or a Service with a port`,
		"web-1 10.96.0.1:80":           `source: got "web-1", want an address, pod/NAME or pod/NAMESPACE/NAME`,
		"10.0.0.1 web":                 `destination: got "web", want an address or a Service with a port`,
		"10.0.0.1 web.shop.pod:80":     `destination: got "web.shop.pod:80", want`,
		"10.0.0.1 .shop:80":            `destination: got ".shop:80", want`,
		"10.0.0.1 web.shop:":           `destination: got "web.shop:", want`,
		"10.0.0.1 10.96.0.1":           `destination: got "10.96.0.1", want`,
		"10.0.0.1 fd00::1":             `destination: got "fd00::1", want`,
		"10.0.0.1 [fd00::1]:80":        "two IP families",
		"10.0.0.1 10.96.0.1:80/icmp":   `protocol: got "icmp", want tcp, udp or sctp`,
		"10.0.0.1 web:80":              "no Service default/web that this proxy routes; one of this name is in shop",
		"10.0.0.1 mesh.shop:80":        "no Service shop/mesh that this proxy routes",
		"10.0.0.1 names.shop:80":       "the Service shop/names has no cluster IP",
		"10.0.0.1 web.shop:https":      `port: got "https", want one of the Service shop/web, which has http:80/tcp`,
		"10.0.0.1 web.shop:http/udp":   `port: got "http", want one of the Service shop/web`,
		"10.0.0.1 10.96.0.1:http":      `destination: got "10.96.0.1:http", want`,
		"10.0.0.1 web.shop:70000":      `port: got "70000", want one of`,
		"fd00::1 web.shop:80":          "fd00::1 and 10.96.0.20 are of two IP families",
		"pod/none web.shop:80":         "no pod default/none with an address in the manifests",
	} {
		if _, err := do(t, append([]string{"explain", "--manifests=testdata/explain"}, strings.Fields(args)...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("explain %s: %v, want %q", args, err, want)
		}
	}
	if out, err := do(t, "explain", "--help"); err != nil || !strings.Contains(out, "forwarder explain SOURCE[@INTERFACE]") {
		t.Errorf("--help: %v\n%s", err, out)
	}
}
