package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// hostPort is what the CNI plugin portmap makes of a pod's hostPort 80.
const hostPort = `table ip cni_hostport {
	chain hostports {
		tcp dport 80 dnat to POD:8080
		udp dport 80 dnat to POD:8080
	}
	chain prerouting {
		type nat hook prerouting priority -100; policy accept;
		fib daddr type local jump hostports
	}
	chain output {
		type nat hook output priority -100; policy accept;
		fib daddr type local jump hostports
	}
}`

// hostPortOfIPTables is the same as portmap makes it with iptables: a line for each command.
const hostPortOfIPTables = `-N CNI-HOSTPORT-DNAT
-A CNI-HOSTPORT-DNAT -p tcp --dport 80 -j DNAT --to-destination POD:8080
-A CNI-HOSTPORT-DNAT -p udp --dport 80 -j DNAT --to-destination POD:8080
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT`

// A hostPort takes the port of the node's own address and not that of a cluster IP, in every mode.
func TestHostPort(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables", "ipvs"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "ipvs" {
				netlab.NeedIPVS(t)
			}
			t.Run("by nft", func(t *testing.T) {
				checkHostPort(t, mode, func(n *netlab.Host, pod string) {
					nft(t, n, strings.ReplaceAll(hostPort, "POD", pod), "-f", "-")
				})
			})
			t.Run("by iptables", func(t *testing.T) {
				checkHostPort(t, mode, func(n *netlab.Host, pod string) {
					for line := range strings.Lines(strings.ReplaceAll(hostPortOfIPTables, "POD", pod)) {
						tool(t, n, "iptables", "", append([]string{"-w", "-t", "nat"}, strings.Fields(line)...)...)
					}
				})
			})
		})
	}
}

// checkHostPort runs a forwarder beside the hostPort 80 of pod a on node 1, which open makes.
func checkHostPort(t *testing.T, mode string, open func(n *netlab.Host, pod string)) {
	c := newTown(t)
	c.serve("b")
	n := c.lab.Node(1)
	open(n.Host, c.pods["a"].IPv4.String())
	p := start(t, n.Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0", "--proxy-mode="+mode)
	p.until("the rules are in place", func() (bool, string) { return strings.Contains(p.logged(), "rules are in place"), p.logged() })
	for _, network := range []string{"tcp", "udp"} {
		c.answers(c.pods["client"], network, "10.96.0.20:80", "b")
		c.answers(n.Host, network, "10.96.0.20:80", "b")
		c.answers(c.lab.Outside, network, netip.AddrPortFrom(n.IPv4, 30080).String(), "b")
		c.answers(c.pods["client"], network, netip.AddrPortFrom(n.IPv4, 80).String(), "a")
		c.answers(c.lab.Outside, network, netip.AddrPortFrom(n.IPv4, 80).String(), "a")
		c.answers(n.Host, network, netip.AddrPortFrom(n.IPv4, 80).String(), "a")
	}
}
