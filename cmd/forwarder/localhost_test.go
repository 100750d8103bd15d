package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A process of the node reaches a NodePort on 127.0.0.1 where nodePortAddresses names localhost, in every mode, and the
// list may change while the forwarder runs.
func TestLocalhostNodePorts(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables", "ipvs"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "ipvs" {
				netlab.NeedIPVS(t)
			}
			checkLocalhost(t, mode)
		})
	}
}

func checkLocalhost(t *testing.T, mode string) {
	c := newTown(t)
	c.serve("a", "b")
	n := c.lab.Node(1)
	file := filepath.Join(t.TempDir(), "config")
	write := func(list string) {
		t.Helper()
		text := "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: " + mode +
			"\nclusterCIDR: 10.244.0.0/16\nconntrack: {maxPerCore: 0}\nnodePortAddresses: " + list + "\n"
		if err := os.WriteFile(file+".new", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("[primary, localhost]")
	p := start(t, n.Host, false, "--config="+file, "--manifests="+c.dir)
	at := netip.MustParseAddrPort("127.0.0.1:30080")
	answered := func() (bool, string) {
		_, err := n.Ask(c.ctx, "tcp", at)
		return err == nil, p.logged()
	}
	p.until("the NodePort on 127.0.0.1", answered)
	c.answers(n.Host, "tcp", at.String(), "a", "b")
	c.answers(n.Host, "tcp", netip.AddrPortFrom(n.IPv4, 30080).String(), "a", "b")
	c.serve("b")
	p.until("one endpoint is left", func() (bool, string) {
		r, err := n.Ask(c.ctx, "tcp", at)
		return err == nil && r.Server == "b", p.logged()
	})
	if mode == "nftables" {
		const want = "the forwarder takes the connection and connects it to one of the endpoints"
		if out := c.explains("127.0.0.1 127.0.0.1:30080"); !strings.Contains(out, want) {
			t.Errorf("explain does not say %q:\n%s", want, out)
		}
	}
	listeners := func(want string) {
		t.Helper()
		_, page := p.get("http://127.0.0.1:10249/metrics")
		if line := "\nkubeproxy_nftables_localhost_nodeport_listeners " + want + "\n"; mode == "nftables" && !strings.Contains(page, line) {
			t.Errorf("the metrics lack %q:\n%s", line, page)
		}
	}
	listeners("1")
	write("[primary]")
	p.until("no NodePort on 127.0.0.1", func() (bool, string) {
		ok, log := answered()
		return !ok, log
	})
	listeners("0")
	write("[primary, localhost]")
	p.until("the NodePort on 127.0.0.1 again", answered)
}
