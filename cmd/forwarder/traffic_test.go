package main

import (
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// counted reads a metric of the Service echo, -1 if it is not there.
func (p *process) counted(name string, labels ...string) float64 {
	_, page := p.get("http://127.0.0.1:10249/metrics")
	for _, m := range regexp.MustCompile(`(?m)^signpost_service_`+name+`_total\{(.*)\} (\S+)$`).FindAllStringSubmatch(page, -1) {
		fits := strings.Contains(m[1], `service="echo"`)
		for _, l := range labels {
			fits = fits && strings.Contains(m[1], l)
		}
		if fits {
			v, _ := strconv.ParseFloat(m[2], 64)
			return v
		}
	}
	return -1
}

// The numbers of a Service are those of its connections, in every mode, also of those that are
// refused; and the counters go with who asked for them.
func TestCountTraffic(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables"} {
		t.Run(mode, func(t *testing.T) {
			if _, err := exec.LookPath("iptables-nft-restore"); mode == "iptables" && err != nil {
				netlab.Skip(t, err.Error()+" (apt-get install iptables)")
			}
			c := newTown(t)
			c.serve("a", "b") // b is on the other node, and answers past this one's sockets
			n, client := c.lab.Node(1), c.pods["client"]
			args := []string{"--manifests=" + c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0", "--proxy-mode=" + mode}
			p := start(t, n.Host, false, append(args, "--count-traffic=default/echo,else/*")...)
			p.until("the Service is counted", func() (bool, string) { return p.counted("connections", `port="tcp"`) == 0, p.logged() })
			cluster, node := netip.MustParseAddrPort("10.96.0.20:80"), netip.AddrPortFrom(n.IPv4, 30080)
			p.until("the rules lead somewhere", func() (bool, string) {
				_, err := c.lab.Outside.Ask(c.ctx, "tcp", node)
				return err == nil, p.logged()
			})
			ask := func(h *netlab.Host, network string, to netip.AddrPort, times int) {
				t.Helper()
				for range times {
					if _, err := h.Ask(c.ctx, network, to); err != nil {
						t.Fatal(err)
					}
				}
			}
			ask(client, "tcp", cluster, 6)
			ask(n.Host, "tcp", cluster, 4) // a process of the node
			ask(client, "udp", cluster, 5)
			for _, row := range []struct {
				what   string
				labels []string
				least  float64
				most   float64
			}{
				{"connections", []string{`kind="ClusterIP"`, `port="tcp"`}, 10, 10},
				{"connections", []string{`kind="ClusterIP"`, `port="udp"`}, 5, 5},
				{"packets", []string{`kind="ClusterIP"`, `port="udp"`, `direction="in"`}, 5, 5},
				{"packets", []string{`kind="ClusterIP"`, `port="udp"`, `direction="out"`}, 5, 5},
				{"packets", []string{`kind="ClusterIP"`, `port="tcp"`, `direction="out"`}, 30, 90},
				{"bytes", []string{`kind="ClusterIP"`, `port="tcp"`, `direction="in"`}, 10 * 100, 10 * 2000},
				{"connections", []string{`kind="NodePort"`, `port="tcp"`}, 1, 1000},
				{"packets", []string{`kind="NodePort"`, `port="tcp"`, `direction="out"`}, 1, 10000},
			} {
				if got := p.counted(row.what, row.labels...); got < row.least || got > row.most {
					t.Errorf("%s %v: %v, want %v to %v", row.what, row.labels, got, row.least, row.most)
				}
			}
			c.serve()
			before := p.counted("connections", `kind="ClusterIP"`, `port="tcp"`)
			p.until("the Service refuses", func() (bool, string) {
				_, err := client.Ask(c.ctx, "tcp", cluster)
				return err != nil, p.logged()
			})
			if got := p.counted("connections", `kind="ClusterIP"`, `port="tcp"`); got <= before {
				t.Errorf("%v connections, %v before some were refused", got, before)
			}
			p.metricsAreDocumented()
			p.leaves(args)
		})
	}
}

// leaves ends the forwarder by SIGKILL and SIGTERM, and starts it in between.
func (p *process) leaves(args []string) {
	p.t.Helper()
	has := func() bool { return strings.Contains(nft(p.t, p.host, "", "list", "tables"), "signpost-traffic") }
	p.Kill()
	if !has() {
		p.t.Error("who is killed leaves the table")
	}
	next := start(p.t, p.host, false, args...)
	next.until("nobody is counted any more", func() (bool, string) { return !has(), next.logged() })
	next.Kill()
	last := start(p.t, p.host, false, append(args, "--count-traffic=*/*")...)
	last.until("it is counted again", func() (bool, string) { return has(), last.logged() })
	last.Signal(unix.SIGTERM)
	last.ends()
	if has() {
		p.t.Error("who ends removes the table")
	}
}
