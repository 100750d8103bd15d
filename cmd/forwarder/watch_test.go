package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A change of the configuration is taken over while the forwarder runs; one that would need
// another process ends it, and the rules stay.
func TestChangedConfiguration(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1)
	dir := t.TempDir()
	shop(t, dir, "10.244.1.2")
	file := filepath.Join(t.TempDir(), "config")
	write := func(more string) { // as a ConfigMap changes: another file takes the name
		t.Helper()
		text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n" + more
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	const conntrack = "conntrack: {maxPerCore: 0, udpTimeout: 61s}\n"
	write(conntrack + "clusterCIDR: 10.244.0.0/16\n")
	p := start(t, n.Host, false, "--manifests="+dir, "--config="+file)
	p.routes("10.244.1.2")
	rules := func(what string, has, hasNot string) {
		t.Helper()
		p.until(what, func() (bool, string) {
			got := nft(t, n.Host, "", "list", "ruleset")
			return strings.Contains(got, has) && !strings.Contains(got, hasNot), got
		})
	}
	rules("the network of the pods", "10.244.0.0/16", "10.245.0.0/16")
	write(conntrack + "clusterCIDR: 10.245.0.0/16\n")
	rules("another network of the pods", "10.245.0.0/16", "10.244.0.0/16")
	write(conntrack + "clusterCIDR: 10.245.0.0/16\nnftables: {masqueradeBit: 7}\n")
	rules("another mark", "0x00000080", "0x00004000")
	write("conntrack: {maxPerCore: 0, udpTimeout: 62s}\nclusterCIDR: 10.245.0.0/16\nnftables: {masqueradeBit: 7}\n")
	p.until("a parameter of the kernel", func() (bool, string) {
		var got []byte
		err := n.Do(func() (err error) {
			got, err = os.ReadFile("/proc/sys/net/netfilter/nf_conntrack_udp_timeout")
			return err
		})
		return err == nil && strings.TrimSpace(string(got)) == "62", string(got)
	})
	write("clusterCIDR: 10.999.0.0/16\n")
	p.until("a file that cannot be used is told", func() (bool, string) {
		return strings.Contains(p.logged(), "the one before goes on"), p.logged()
	})
	write("conntrack: {maxPerCore: 0, udpTimeout: 62s}\nclusterCIDR: 10.246.0.0/16\nnftables: {masqueradeBit: 7}\nportRange: x\n")
	rules("after it", "10.246.0.0/16", "10.245.0.0/16")
	p.until("it shows what is in force", func() (bool, string) {
		_, body := p.get("http://127.0.0.1:10249/configz")
		return strings.Contains(body, `"clusterCIDR":"10.246.0.0/16"`), body
	})

	write("metricsBindAddress: 127.0.0.1:10248\n")
	if code := p.ends(); code != 1 || !strings.Contains(p.logged(), file+" changed in metricsBindAddress: start again") {
		t.Errorf("ended with %d:\n%s", code, p.logged())
	}
	p.routes0("10.244.1.2")
}
