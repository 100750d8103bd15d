package main

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/netlab"
)

// A file that changes before it is watched counts, too.
func TestConfigurationChangesDuringTheStart(t *testing.T) {
	netlab.OwnNetwork(t)
	file := filepath.Join(t.TempDir(), "config")
	write := func(port string) {
		t.Helper()
		text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmetricsBindAddress: 127.0.0.1:" + port + "\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("10249")
	c, err := config.Load([]string{"--config=" + file, "--manifests=" + t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{config: c, log: slog.New(slog.DiscardHandler)}
	f.current.Store(c)
	write("10248")
	if err := f.watchConfig(t.Context()); err == nil || !strings.Contains(err.Error(), "changed in metricsBindAddress") {
		t.Errorf("got %v, want an error that names the field", err)
	}
}

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
	p.refuses("a file that cannot be used", "10.999.0.0/16", 1)
	write("conntrack: {maxPerCore: 0, udpTimeout: 62s}\nclusterCIDR: 10.246.0.0/16\nnftables: {masqueradeBit: 7}\nportRange: x\n")
	rules("after it", "10.246.0.0/16", "10.245.0.0/16")
	write("conntrack: {max: null, maxPerCore: 0, udpTimeout: 62s}\nclusterCIDR: 10.246.0.0/16\nnftables: {masqueradeBit: 7}\nportRange: x\n")
	p.until("a field that does not exist is noted", func() (bool, string) {
		return strings.Contains(p.logged(), "conntrack.max has no effect"), p.logged()
	})
	p.refuses("a file that can be used", "the configuration is usable again", 0)
	write("conntrack: {maxPerCore: 0}\nmode: ipvs\nipvs: {scheduler: none-such}\n")
	p.refuses("a mode that this node cannot do", "mode ipvs", 1)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.refuses("no file", "no such file", 1)
	write("conntrack: {maxPerCore: 0, udpTimeout: 62s}\nclusterCIDR: 10.247.0.0/16\nnftables: {masqueradeBit: 7}\nportRange: x\n")
	rules("after them", "10.247.0.0/16", "10.246.0.0/16")
	p.refuses("a file that can be used again", "the configuration is usable again", 0)
	p.until("it shows what is in force", func() (bool, string) {
		_, body := p.get("http://127.0.0.1:10249/configz")
		return strings.Contains(body, `"clusterCIDR":"10.247.0.0/16"`), body
	})

	write("metricsBindAddress: 127.0.0.1:10248\n")
	if code := p.ends(); code != 1 || !strings.Contains(p.logged(), file+" changed in metricsBindAddress: want a restart") {
		t.Errorf("ended with %d:\n%s", code, p.logged())
	}
	p.routes0("10.244.1.2")
}

// refuses waits until the log says something and the metric has a value.
func (p *process) refuses(what, says string, metric int) {
	p.t.Helper()
	p.until(what, func() (bool, string) {
		_, body := p.get("http://127.0.0.1:10249/metrics")
		return strings.Contains(p.logged(), says) && strings.Contains(body, fmt.Sprintf("\nsignpost_config_refused %d\n", metric)), p.logged()
	})
}

// A start with a configuration that cannot be used follows changes by the rules that are there, with the
// configuration that they were made with. Without rules it fails.
func TestStartWithRefusedConfiguration(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1)
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "config")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	const head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {maxPerCore: 0}\n"
	const good, impossible, unreadable = head + "clusterCIDR: 10.77.0.0/16\n", head + "clusterCIDR: 10.77.0.0/16\nmode: ipvs\nipvs: {scheduler: none-such}\n", "mode: [nftabels\n"
	args := []string{"--manifests=" + dir, "--config=" + file}
	for name, text := range map[string]string{"impossible": impossible, "unreadable": unreadable} {
		write(text)
		p := start(t, n.Host, false, args...)
		if code := p.ends(); code != 1 {
			t.Errorf("%s, without rules: ended with %d\n%s", name, code, p.logged())
		}
	}
	shop(t, dir, "10.244.1.2")
	write(good)
	p := start(t, n.Host, false, args...)
	p.routes("10.244.1.2")
	p.until("the configuration is kept", func() (bool, string) {
		got := nft(t, n.Host, "", "list", "ruleset")
		return strings.Contains(got, "signpost-config"), got
	})
	nft(t, nil, nft(t, n.Host, "", "list", "ruleset"), "-c", "-f", "-") // others can load it
	p.Kill()
	write(good + "udpIdleTimeout: 250ms\n") // no kube-proxy has this field any more
	p = start(t, n.Host, false, args...)
	p.until("a field that does not exist is noted", func() (bool, string) {
		return strings.Contains(p.logged(), "udpIdleTimeout has no effect"), p.logged()
	})
	p.Kill()
	for i, text := range []string{impossible, unreadable} {
		pod := []string{"10.244.1.3", "10.244.1.4"}[i]
		write(text)
		shop(t, dir, pod)
		if code := start(t, n.Host, false, append([]string{"--init-only"}, args...)...).ends(); code != 0 {
			t.Errorf("--init-only ended with %d", code)
		}
		p = start(t, n.Host, false, args...)
		p.routes(pod)
		p.refuses("it says so", "the previous one stays active", 1)
		if rules := nft(t, n.Host, "", "list", "ruleset"); !strings.Contains(rules, "10.77.0.0/16") {
			t.Errorf("the network of the pods is not as before:\n%s", rules)
		}
		write(good)
		p.refuses("the file is right again", "the configuration is usable again", 0)
		p.Kill()
	}
	write(good + "udpIdleTimeout: 250ms\n")
	p = start(t, n.Host, false, "--cleanup", "--config="+file)
	if code := p.ends(); code != 0 || !strings.Contains(p.logged(), "udpIdleTimeout has no effect") {
		t.Errorf("--cleanup ended with %d:\n%s", code, p.logged())
	}
	if rules := nft(t, n.Host, "", "list", "ruleset"); rules != "" {
		t.Errorf("left behind:\n%s", rules)
	}
}
