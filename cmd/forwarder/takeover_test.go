package main

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
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
