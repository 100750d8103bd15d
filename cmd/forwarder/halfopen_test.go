package main

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"
)

// A client that dials while its backend dies is served by the next one at its next
// attempt, if --conntrack-cut-half-open is given.
func TestHalfOpen(t *testing.T) {
	c := newTown(t)
	c.serve("a")
	n, client, a, b := c.lab.Node(1), c.pods["client"], c.pods["a"], c.pods["b"]
	nft(t, a, "table ip dead { chain input { type filter hook input priority 0; tcp dport 8080 drop; }; }", "-f", "-")
	start(t, n.Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0",
		"--conntrack-cut-half-open").routesTo(a)
	type answer struct {
		who string
		err error
	}
	answered := make(chan answer, 1)
	go func() {
		r, err := client.Ask(c.ctx, "tcp", netip.MustParseAddrPort("10.96.0.20:80"))
		answered <- answer{r.Server, err}
	}()
	for tracked := false; !tracked; time.Sleep(time.Millisecond) {
		if err := n.Do(func() error {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			for _, f := range flows {
				tracked = tracked || f.Forward.DstPort == 80 && a.IPv4.String() == f.Reverse.SrcIP.String()
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if c.ctx.Err() != nil {
			t.Fatal("the client's attempt is not tracked")
		}
	}
	c.serve("b")
	select {
	case got := <-answered:
		if got.err != nil || got.who != b.Name {
			t.Errorf("%q answered, %v; want b", got.who, got.err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the client still tries the backend that is gone")
	}
}
