package main

import (
	"bytes"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// explained runs explain on a town's node.
func (c *town) explained(packet string) string {
	c.t.Helper()
	return c.explains(packet + " --manifests=" + c.dir + " --cluster-cidr=10.244.0.0/16")
}

// explains is explained with no other flags.
func (c *town) explains(packet string) string {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	args := append([]string{"explain"}, strings.Fields(packet)...)
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), beForwarder+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := c.lab.Node(1).Run(cmd); err != nil {
		c.t.Fatalf("explain %s: %v\n%s", packet, err, out.String())
	}
	return out.String()
}

// On the node explain tells what the kernel has, what it tracks, and who answers.
func TestExplainReadsTheKernelBack(t *testing.T) {
	c := newTown(t)
	c.serve("a", "b")
	const packet = "10.244.1.9 10.96.0.20:80"
	if out := c.explained(packet); strings.Contains(out, "kernel ") {
		t.Errorf("without a forwarder:\n%s", out)
	}
	p := start(t, c.lab.Node(1).Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0")
	p.routesTo(c.pods["a"], c.pods["b"])
	has := func(what, out string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", what, w, out)
			}
		}
	}
	a, b := c.pods["a"].IPv4.String()+":8080", c.pods["b"].IPv4.String()+":8080"
	c.answers(c.pods["client"], "tcp", "10.96.0.20:80", "a", "b")
	has("all is well", c.explained(packet), "kernel in masquerade-node-outside\n", "kernel backends-tcp-2: ", "kernel as intended\n",
		"flows lead to "+a+"\n", "flows lead to "+b+"\n", "backend "+a+" answers this node\n", "backend "+b+" answers this node\n")
	has("a NodePort", c.explained("203.0.113.7 "+netip.AddrPortFrom(c.lab.Node(1).IPv4, 30080).String()), "kernel as intended\n")
	has("no Service", c.explained("10.244.1.9 10.96.0.99:80"), "kernel in nothing\n", "kernel as intended\n")

	// Nobody follows the folder any more.
	p.Kill()
	c.serve("b")
	has("the forwarder is dead", c.explained(packet), "kernel NOT AS INTENDED", "flows lead to "+a+"; it is no endpoint for new ones\n")
	dead := c.pods["b"]
	nft(t, dead, "table ip dead { chain input { type filter hook input priority 0; tcp dport 8080 drop; }; }", "-f", "-")
	has("a backend is dead", c.explained(packet), "backend "+b+" does not answer within 1s")
	c.serve()
	has("nobody serves it", c.explained(packet), ": refused", "NOT AS INTENDED")

	nft(t, c.lab.Node(1).Host, "", "flush", "ruleset") // the table has no owner any more
	c.serve("a", "b")
	p = start(t, c.lab.Node(1).Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0", "--proxy-mode=iptables")
	p.until("the rules are in place", func() (bool, string) { return strings.Contains(p.logged(), "rules are in place"), p.logged() })
	has("in iptables mode", c.explained(packet), "kernel nat KUBE-SVC-", ": 3 rules\n", "kernel in nat KUBE-SERVICES: -d 10.96.0.20/32", "kernel as intended\n")
	p.Kill()
	c.serve("b")
	has("in iptables mode the forwarder is dead", c.explained(packet), "kernel NOT AS INTENDED")
}

// Without flags explain goes by the configuration of the forwarder that runs, and finds the kernel as intended.
func TestExplainGoesByTheRunningForwarder(t *testing.T) {
	c := newTown(t)
	c.serve("a")
	file := filepath.Join(t.TempDir(), "config")
	text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: nftables\nclusterCIDR: 10.244.0.0/16\n" +
		"conntrack: {maxPerCore: 0}\nnftables: {masqueradeBit: 7, masqueradeAll: true}\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, c.lab.Node(1).Host, false, "--config="+file, "--manifests="+c.dir, "--protected-node-ports=22,30080")
	p.routesTo(c.pods["a"])
	const service = "10.244.1.9 echo:80"
	nodePort := "203.0.113.7 " + netip.AddrPortFrom(c.lab.Node(1).IPv4, 30080).String()
	for _, tt := range []struct{ packet, want string }{
		{service, "using the configuration of the running forwarder"},
		{service, "from a pod: 10.244.1.9 is in 10.244.0.0/16"},
		{service, "masqueraded: the configuration says so for all"},
		{service, "kernel as intended"},
		{nodePort, "not translated"}, // by --protected-node-ports
		{nodePort, "kernel as intended"},
		{service + " --cluster-cidr=10.245.0.0/16 --manifests=" + c.dir, "from outside: 10.244.1.9"},
	} {
		if out := c.explains(tt.packet); !strings.Contains(out, tt.want) {
			t.Errorf("explain %s: no %q in\n%s", tt.packet, tt.want, out)
		}
	}
	p.Kill()
	if out := c.explained(service); !strings.Contains(out, "10.96.0.20:80") || strings.Contains(out, "of the running forwarder") {
		t.Errorf("no forwarder runs:\n%s", out)
	}
}
