package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// otherNode is a Service whose external address is that of another node, which has an API server.
const otherNode = `
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default}
spec: {clusterIP: 10.96.0.1, ports: [{name: https, port: 443, targetPort: 6443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, namespace: default, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: 6443}]
endpoints: [{addresses: [NODE]}]
---
apiVersion: v1
kind: Service
metadata: {name: taker, namespace: tenant}
spec: {clusterIP: 10.96.0.30, externalIPs: [NODE], ports: [{name: tcp, port: 81}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: taker-1, namespace: tenant, labels: {kubernetes.io/service-name: taker}}
addressType: IPv4
ports: [{name: tcp, port: 8080}]
endpoints: [{addresses: [POD], nodeName: node-1}]
`

// An external address that is another node's leaves that node's own ports to it, in every mode.
// Mode ipvs does not serve the address, because it would have to be one of this node's.
func TestExternalIPOfAnotherNode(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables", "ipvs"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "ipvs" {
				netlab.NeedIPVS(t)
			}
			c := newTown(t)
			here, there := c.lab.Node(1), c.lab.Node(2)
			if _, err := there.Echo(8080); err != nil {
				t.Fatal(err)
			}
			text := strings.NewReplacer("NODE", there.IPv4.String(), "POD", c.pods["a"].IPv4.String()).Replace(otherNode)
			if err := os.WriteFile(filepath.Join(c.dir, "other.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			p := start(t, here.Host, false, "--manifests="+c.dir, "--cluster-cidr=10.244.0.0/16", "--conntrack-max-per-core=0", "--proxy-mode="+mode)
			p.until("the rules are in place", func() (bool, string) { return strings.Contains(p.logged(), "rules are in place"), p.logged() })
			c.answers(here.Host, "tcp", "10.96.0.30:81", "a") // the Service works
			own := netip.AddrPortFrom(there.IPv4, 8080).String()
			c.answers(here.Host, "tcp", own, there.Name)
			c.answers(c.pods["a"], "tcp", own, there.Name)
			taken := netip.AddrPortFrom(there.IPv4, 81)
			if mode != "ipvs" {
				c.answers(c.pods["a"], "tcp", taken.String(), "a")
				return
			}
			if r, err := c.pods["a"].Ask(c.ctx, "tcp", taken); err == nil {
				t.Errorf("%v is answered by %s", taken, r.Server)
			}
			p.until("the log names the limit", func() (bool, string) {
				return strings.Contains(p.logged(), "limit=other-node"), p.logged()
			})
		})
	}
}
