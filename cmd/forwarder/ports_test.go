package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A load balancer asks on a healthCheckNodePort whether this node has endpoints.
func TestHealthCheckNodePort(t *testing.T) {
	n := netlab.New(t, netlab.Config{Nodes: 1}).Node(1)
	dir := t.TempDir()
	write := func(node string) {
		t.Helper()
		text := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.20
  externalTrafficPolicy: Local
  healthCheckNodePort: 32000
  ports: [{name: http, port: 80, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.2], nodeName: %s}]
`, node)
		if err := os.WriteFile(filepath.Join(dir, "shop.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(n.Name)
	p := start(t, n.Host, false, "--manifests="+dir, "--conntrack-max-per-core=0")
	url := "http://" + netip.AddrPortFrom(n.IPv4, 32000).String()
	says := func(what string, code int, count string) {
		t.Helper()
		p.until(what, func() (bool, string) {
			got, body := p.get(url)
			return got == code && strings.Contains(body, `"localEndpoints": `+count), fmt.Sprint(got, " ", body)
		})
	}
	says("an endpoint here", 200, "1")
	write("node-9")
	says("none here", 503, "0")
	write(n.Name)
	says("one again", 200, "1")
}
