package main

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

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

// destinations lists where the clients of the UDP flows to a pod sent their datagrams, as the first node tracks them.
func (c *town) destinations(pod *netlab.Host) (list []string, err error) {
	err = c.lab.Node(1).Do(func() error {
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		for _, f := range flows {
			if f.Forward.Protocol == unix.IPPROTO_UDP && f.Reverse.SrcIP.Equal(pod.IPv4.AsSlice()) {
				list = append(list, fmt.Sprintf("%v:%d", f.Forward.DstIP, f.Forward.DstPort))
			}
		}
		return err
	})
	slices.Sort(list)
	return slices.Compact(list), err
}

// Flows to a frontend that went while no forwarder ran end when the next one has its rules, also in another mode.
// Those to frontends that are still there go on.
func TestFlowsToFrontendsThatWent(t *testing.T) {
	for _, c := range []struct{ before, after string }{
		{"nftables", "nftables"}, {"iptables", "iptables"}, {"nftables", "iptables"}, {"iptables", "nftables"}, {"ipvs", "ipvs"},
	} {
		t.Run(c.before+" to "+c.after, func(t *testing.T) { flowsToFrontendsThatWent(t, c.before, c.after) })
	}
}

func flowsToFrontendsThatWent(t *testing.T, before, after string) {
	if before == "ipvs" {
		netlab.NeedIPVS(t)
	} else if _, err := exec.LookPath("iptables-nft-restore"); err != nil {
		netlab.Skip(t, err.Error()+" (apt-get install iptables)")
	}
	c := newTown(t)
	n, pod := c.lab.Node(1), c.pods["a"]
	slice := func(name string) string {
		return fmt.Sprintf(`
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, namespace: default, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: one, port: 8080, protocol: UDP}, {name: two, port: 8080, protocol: UDP}]
endpoints: [{addresses: [%[2]v], nodeName: %[3]s}]
`, name, pod.IPv4, n.Name)
	}
	c.write("a", `
apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {clusterIP: 10.96.0.10, ports: [{name: one, port: 53, protocol: UDP}]}
`+slice("a"))
	c.write("b", `
apiVersion: v1
kind: Service
metadata: {name: b, namespace: default}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.11
  externalIPs: [198.51.100.2]
  ports: [{name: one, port: 53, nodePort: 30053, protocol: UDP}, {name: two, port: 54, nodePort: 30054, protocol: UDP}]
status: {loadBalancer: {ingress: [{ip: 198.51.100.1}]}}
`+slice("b"))
	run := func(mode string) *process {
		p := start(t, n.Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0", "--proxy-mode="+mode)
		p.until("the rules are in place", func() (bool, string) { return strings.Contains(p.logged(), "rules are in place"), p.logged() })
		return p
	}
	p := run(before)
	stays := c.dial("10.96.0.11:53")
	want := []string{"10.96.0.10:53", "10.96.0.11:53", "10.96.0.11:54", "198.51.100.1:53", "198.51.100.2:53", fmt.Sprintf("%v:30053", n.IPv4)}
	slices.Sort(want)
	for _, to := range want {
		conn := stays
		if to != "10.96.0.11:53" {
			conn = c.dial(to)
		}
		if got := c.say(conn); got != "a" {
			t.Fatalf("%s answered at %s", got, to)
		}
	}
	if got, err := c.destinations(pod); err != nil || !slices.Equal(got, want) {
		t.Fatalf("flows to %q, %v; want %q", got, err, want)
	}
	p.Kill()
	c.write("a", "")
	c.write("b", `
apiVersion: v1
kind: Service
metadata: {name: b, namespace: default}
spec: {clusterIP: 10.96.0.11, ports: [{name: one, port: 53, protocol: UDP}]}
`+slice("b"))
	p = run(after)
	p.until("the flows to what went end", func() (bool, string) {
		got, err := c.destinations(pod)
		return err == nil && slices.Equal(got, []string{"10.96.0.11:53"}), fmt.Sprint(got, err)
	})
	if err := say(stays, "x", 5*time.Second); err != nil {
		t.Errorf("the flow to the frontend that stays: %v", err)
	}
}
