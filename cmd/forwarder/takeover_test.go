package main

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// kubeProxyRules are the tables that kube-proxy leaves, as far as they matter: one of them
// leads a VIP to a pod.
func kubeProxyRules(vip, pod netip.Addr) string {
	return fmt.Sprintf(`
table ip kube-proxy {
	chain nat-prerouting {
		type nat hook prerouting priority dstnat;
		ip daddr %v tcp dport 80 dnat to %v:8080
	}
	chain filter-forward {
		type filter hook forward priority -110;
	}
}
table ip6 kube-proxy {
	chain filter-forward {
		type filter hook forward priority -110;
	}
}
`, vip, pod)
}

// runKubeProxy answers /healthz in a host as kube-proxy does, until the test or end ends it.
func runKubeProxy(t *testing.T, h *netlab.Host) (end func()) {
	t.Helper()
	return serveIn(t, h, "127.0.0.1:10256", func() string {
		return `{"lastUpdated": "2026-11-25 00:00:00 +0000 UTC","currentTime": "2026-11-25 00:00:01 +0000 UTC", "nodeEligible": true}`
	})
}

// serveIn serves a text in a host, whatever the page.
func serveIn(t *testing.T, h *netlab.Host, at string, text func() string) (end func()) {
	t.Helper()
	l, err := h.Listen(at)
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text()) })}
	var all sync.WaitGroup
	all.Go(func() { _ = server.Serve(l) })
	end = sync.OnceFunc(func() { _ = server.Close(); all.Wait() })
	t.Cleanup(end)
	return end
}

func kubeProxyTables(t *testing.T, h *netlab.Host) int {
	t.Helper()
	return strings.Count(nft(t, h, "", "list", "tables"), "kube-proxy")
}

// A forwarder takes over from a kube-proxy: its rules go once ours are there, not a
// connection is lost, and what a running kube-proxy needs is left alone.
func TestTakeOver(t *testing.T) {
	c := newTown(t)
	c.serve("a", "b")
	n := c.lab.Node(1)
	client := c.pods["client"]
	to := netip.MustParseAddrPort("10.96.0.20:80")
	nft(t, n.Host, kubeProxyRules(to.Addr(), c.pods["a"].IPv4), "-f", "-")
	end := runKubeProxy(t, n.Host)

	stop, asked := make(chan struct{}), make(chan error, 1)
	count := 0
	go func() {
		for {
			select {
			case <-stop:
				asked <- nil
				return
			default:
			}
			if _, err := client.Ask(c.ctx, "tcp", to); err != nil {
				asked <- fmt.Errorf("connection %d: %w", count, err)
				return
			}
			count++
		}
	}()
	p := start(t, n.Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0")
	p.routesTo(c.pods["a"], c.pods["b"])
	p.until("it sees the kube-proxy", func() (bool, string) {
		return strings.Contains(p.logged(), "another proxy runs on this node"), p.logged()
	})
	if n := kubeProxyTables(t, n.Host); n != 2 {
		t.Errorf("%d tables of a kube-proxy that runs are left, want both", n)
	}
	end()
	p.until("the rules of kube-proxy are gone", func() (bool, string) {
		return kubeProxyTables(t, n.Host) == 0, p.logged()
	})
	p.until("it says what it removed", func() (bool, string) {
		return strings.Contains(p.logged(), `rules="ip kube-proxy, ip6 kube-proxy"`), p.logged()
	})
	c.answers(client, "tcp", to.String(), "a", "b")
	close(stop)
	if err := <-asked; err != nil || count < 20 {
		t.Errorf("%d connections while one proxy took over from the other, then: %v", count, err)
	}
}

// --cleanup removes what kube-proxy left, too, but not under one that runs: it may be the
// one that was gone back to. Ours go when that one has written its rules, and not before.
func TestCleanupOfKubeProxy(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1)
	dir := t.TempDir()
	shop(t, dir, "10.244.1.2")
	ours := start(t, n.Host, false, "--manifests="+dir, "--conntrack-max-per-core=0")
	ours.routes("10.244.1.2")
	ours.Kill()
	nft(t, n.Host, kubeProxyRules(netip.MustParseAddr("10.96.0.20"), n.IPv4), "-f", "-")
	end := runKubeProxy(t, n.Host)
	var asked, written atomic.Int32
	serveIn(t, n.Host, "127.0.0.1:10249", func() string {
		asked.Add(1)
		return fmt.Sprintf("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} 1.7e+09\n"+
			"kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} %d\n", written.Load())
	})
	early := start(t, n.Host, false, "--cleanup")
	early.until("it asks again", func() (bool, string) { return asked.Load() >= 3, early.logged() })
	ours.routes0("10.244.1.2")
	written.Store(1_700_000_001)
	if code := early.ends(); code != 0 || strings.Contains(nft(t, n.Host, "", "list", "tables"), "signpost") {
		t.Errorf("ended with %d:\n%s", code, early.logged())
	}
	cleanup := func(want int) {
		t.Helper()
		p := start(t, n.Host, false, "--cleanup")
		if code := p.ends(); code != 0 {
			t.Errorf("ended with %d:\n%s", code, p.logged())
		}
		if got := kubeProxyTables(t, n.Host); got != want {
			t.Errorf("%d tables of kube-proxy, want %d:\n%s", got, want, p.logged())
		}
	}
	cleanup(2)
	end()
	cleanup(0)
	cleanup(0)
}

// kubeProxyLegacy are the rules of a kube-proxy that wrote them by iptables-legacy. They lead the address of a Service
// that was deleted long ago to a pod that is gone. The kubelet and a container runtime use iptables-nft.
const kubeProxyLegacy = `
iptables-nft -t nat -N DOCKER
iptables-nft -t nat -A PREROUTING -j DOCKER
for c in KUBE-SERVICES KUBE-SVC-AAAAAAAAAAAAAAAA KUBE-SEP-AAAAAAAAAAAAAAAA OTHERS; do iptables-legacy -t nat -N $c; done
iptables-legacy -t nat -A KUBE-SEP-AAAAAAAAAAAAAAAA -p tcp -j DNAT --to-destination 10.244.1.99:8080
iptables-legacy -t nat -A KUBE-SVC-AAAAAAAAAAAAAAAA -j KUBE-SEP-AAAAAAAAAAAAAAAA
iptables-legacy -t nat -A KUBE-SERVICES -d 172.31.0.80/32 -p tcp --dport 8080 -j KUBE-SVC-AAAAAAAAAAAAAAAA
iptables-legacy -t nat -A PREROUTING -j KUBE-SERVICES
iptables-nft -t mangle -N KUBE-KUBELET-CANARY
iptables-nft -t mangle -N KUBE-IPTABLES-HINT
`

// The rules that a kube-proxy wrote by the other backend of iptables are removed once ours are in place, and not
// while it runs. Other programs' rules stay.
func TestTakeOverFromTheOtherBackend(t *testing.T) {
	for _, name := range []string{"iptables-nft", "iptables-legacy"} {
		if _, err := exec.LookPath(name); err != nil {
			netlab.Skip(t, err.Error()+" (apt-get install iptables)")
		}
	}
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "lock")) // that of the machine is root's
	c := newTown(t)
	c.serve("a", "b")
	n := c.lab.Node(1)
	command(t, n.Host, "sh", "-ec", kubeProxyLegacy)
	legacy := func() string { return command(t, n.Host, "iptables-legacy-save", "-t", "nat") }
	end := runKubeProxy(t, n.Host)
	p := start(t, n.Host, false, "--manifests="+c.dir, "--proxy-mode=iptables", "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0")
	p.until("it sees the kube-proxy", func() (bool, string) {
		return strings.Contains(p.logged(), "another proxy runs on this node"), p.logged()
	})
	if got := legacy(); strings.Count(got, "-A KUBE-") != 3 {
		t.Errorf("the rules of a kube-proxy that runs:\n%s", got)
	}
	end()
	p.until("the rules of the other backend are gone", func() (bool, string) {
		got := legacy()
		return !strings.Contains(got, "KUBE-"), got
	})
	if got := legacy(); !strings.Contains(got, ":OTHERS ") {
		t.Errorf("another program's chain is gone:\n%s", got)
	}
	p.until("it says what it removed", func() (bool, string) {
		return strings.Contains(p.logged(), `rules="3 chains KUBE-*"`), p.logged()
	})
	c.answers(c.pods["client"], "tcp", "10.96.0.20:80", "a", "b")
}

// What another program removes of the jumps and the shared chains in mode iptables comes back within the syncPeriod,
// though no Service changes.
func TestRepairsWithinTheSyncPeriod(t *testing.T) {
	if _, err := exec.LookPath("iptables-nft"); err != nil {
		netlab.Skip(t, err.Error()+" (apt-get install iptables)")
	}
	c := newTown(t)
	c.serve("a", "b")
	n := c.lab.Node(1)
	p := start(t, n.Host, false, "--manifests="+c.dir, "--proxy-mode=iptables", "--iptables-sync-period=100ms", "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0")
	p.until("the rules are in place", func() (bool, string) {
		return strings.Contains(p.logged(), "rules are in place"), p.logged()
	})
	for i, change := range []string{"-F KUBE-SERVICES", "-D PREROUTING 1"} {
		command(t, n.Host, "sh", "-c", "iptables-nft -w -t nat "+change)
		p.until("the rules are repaired after "+change, func() (bool, string) {
			return strings.Count(p.logged(), "reason=repair") == i+1, p.logged()
		})
		c.answers(c.pods["client"], "tcp", "10.96.0.20:80", "a", "b")
	}
}
