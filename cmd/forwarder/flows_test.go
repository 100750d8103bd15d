package main

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// looks is how many times stale flows of IPv4 were looked for.
func (p *process) looks() (n int) {
	_, page := p.get("http://127.0.0.1:10249/metrics")
	for line := range strings.Lines(page) {
		if rest, ok := strings.CutPrefix(line, `kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"} `); ok {
			_, _ = fmt.Sscan(rest, &n)
		}
	}
	return n
}

// looksAfter does something, and waits until stale flows were looked for.
func (p *process) looksAfter(f func()) {
	p.t.Helper()
	before := p.looks()
	f()
	p.until("stale flows are looked for", func() (bool, string) { n := p.looks(); return n > before, fmt.Sprint(n) })
}

// inModes runs a test in the modes in which the kernel's tracking alone keeps a flow with its backend.
func inModes(t *testing.T, test func(t *testing.T, mode string)) {
	for _, mode := range []string{"nftables", "iptables"} {
		t.Run(mode, func(t *testing.T) {
			if _, err := exec.LookPath("iptables-nft-restore"); err != nil && mode == "iptables" {
				netlab.Skip(t, err.Error()+" (apt-get install iptables)")
			}
			test(t, mode)
		})
	}
}

// dial opens a flow of UDP from one port of the client.
func (c *town) dial(to string) net.Conn {
	c.t.Helper()
	conn, err := c.pods["client"].Dial(c.ctx, "udp", netip.MustParseAddrPort(to))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { conn.Close() })
	return conn
}

// A flow of UDP stays with its backend while that serves, also while it terminates, and no answer is lost. It moves when
// the backend serves no more, or is gone. New flows meet who is ready.
func TestFlowStaysWhileItsBackendServes(t *testing.T) {
	inModes(t, func(t *testing.T, mode string) {
		const vip = "10.96.0.20:80"
		for _, end := range [][]string{{"a!", "b"}, {"b"}} {
			c := newTown(t)
			c.serve("a")
			p := start(t, c.lab.Node(1).Host, false, "--manifests="+c.dir, "--proxy-mode="+mode, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0")
			conn := c.dial(vip)
			for got := ""; got == ""; { // until there are rules
				got = c.say(conn)
			}
			once := func() {
				t.Helper()
				if err := say(conn, "x", 5*time.Second); err != nil {
					t.Errorf("an answer is lost: %v", err)
				}
			}
			once()
			p.looksAfter(func() { c.serve("a-", "b") })
			c.answers(c.pods["client"], "udp", vip, "b")
			for range 20 {
				once()
				if got := c.say(conn); got != "a" {
					t.Fatalf("%s answered while the backend of the flow serves", got)
				}
			}
			c.serve(end...)
			p.until("the flow moves", func() (bool, string) { got := c.say(conn); return got == "b", got })
		}
	})
}
