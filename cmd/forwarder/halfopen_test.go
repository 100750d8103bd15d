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
	n, a, b := c.lab.Node(1), c.pods["a"], c.pods["b"]
	nft(t, a, "table ip dead { chain input { type filter hook input priority 0; tcp dport 8080 drop; }; }", "-f", "-")
	start(t, n.Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0",
		"--conntrack-cut-half-open").routesTo(a)
	answered := c.dialsWhile(a.IPv4.String(), "10.96.0.20:80")
	c.serve("b")
	c.isAnswered(answered, b.Name)
}

// A client that dials before its Service has rules is served at its next attempt: its first packet was tracked
// without a translation, which the kernel would keep for all packets of the connection.
func TestConnectionFromBeforeTheRules(t *testing.T) {
	inModes(t, func(t *testing.T, mode string) {
		c := newTown(t)
		c.serve("a")
		start(t, c.lab.Node(1).Host, false, "--manifests="+c.dir, "--proxy-mode="+mode, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0")
		c.answers(c.pods["client"], "tcp", "10.96.0.20:80", "a") // so that the kernel tracks
		answered := c.dialsWhile("10.96.0.21", "10.96.0.21:80")
		c.write("late", `
apiVersion: v1
kind: Service
metadata: {name: late, namespace: default}
spec: {clusterIP: 10.96.0.21, ports: [{name: tcp, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: late-1, namespace: default, labels: {kubernetes.io/service-name: late}}
addressType: IPv4
ports: [{name: tcp, port: 8080}]
endpoints: [{addresses: [`+c.pods["a"].IPv4.String()+`]}]
`)
		c.isAnswered(answered, "a")
	})
}

type answer struct {
	who string
	err error
}

// dialsWhile has the client dial, and returns when the kernel of the first node tracks that to the one who is to answer.
func (c *town) dialsWhile(answerer, to string) <-chan answer {
	c.t.Helper()
	answered := make(chan answer, 1)
	go func() {
		r, err := c.pods["client"].Ask(c.ctx, "tcp", netip.MustParseAddrPort(to))
		answered <- answer{r.Server, err}
	}()
	for tracked := false; !tracked; time.Sleep(time.Millisecond) {
		if err := c.lab.Node(1).Do(func() error {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
			for _, f := range flows {
				tracked = tracked || f.Forward.DstPort == 80 && f.Forward.DstIP.String() == netip.MustParseAddrPort(to).Addr().String() &&
					answerer == f.Reverse.SrcIP.String()
			}
			return err
		}); err != nil {
			c.t.Fatal(err)
		}
		if c.ctx.Err() != nil {
			c.t.Fatal("the client's attempt is not tracked")
		}
	}
	return answered
}

// isAnswered waits until the client's attempt is answered by a pod.
func (c *town) isAnswered(answered <-chan answer, who string) {
	c.t.Helper()
	select {
	case got := <-answered:
		if got.err != nil || got.who != who {
			c.t.Errorf("%q answered, %v; want %s", got.who, got.err, who)
		}
	case <-time.After(20 * time.Second):
		c.t.Error("the client's attempts lead to who does not answer")
	}
}
