package signpost

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// The index of the plugin has no policies: they are texts and lists that tenants write
// and no name needs.
func TestIndexHasNoPolicies(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "web.yaml"), `apiVersion: v1
kind: Service
metadata: {name: web, namespace: ns, annotations: {signpost.dev/scheduler: `+strings.Repeat("x", 250_000)+`}}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.1
  ports: [{port: 80}]
  externalTrafficPolicy: Local
  internalTrafficPolicy: Local
  healthCheckNodePort: 32000
  sessionAffinity: ClientIP
  loadBalancerSourceRanges: [10.0.0.0/8]
  externalIPs: [192.0.2.1]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: ns, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.1.0.1], nodeName: node-1, zone: z, hints: {forZones: [{name: z}], forNodes: [{name: node-1}]}}]
`)
	l, err := feedConfig{manifests: dir}.open()
	if err != nil {
		t.Fatal(err)
	}
	store, err := l.start()
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	l.wait(10 * time.Second)
	e := store.Service("ns", "web")
	if e == nil || e.Service.External == nil || len(e.Service.External.IPs) != 1 || len(e.Slices) != 1 {
		t.Fatalf("the index has %+v, want a Service with an address outside and a slice", e)
	}
	if s := e.Service; s.InternalLocal || s.ExternalLocal || s.External.Sources != nil || s.External.Affinity != 0 || s.External.HealthCheckPort != 0 || s.External.Scheduler != "" {
		t.Errorf("the index has policies: local %t/%t, %d bytes of scheduler, %+v", s.InternalLocal, s.ExternalLocal, len(s.External.Scheduler), s.External.Sources)
	}
	for _, ep := range e.Slices[0].Endpoints {
		if none := (cluster.Atom{}); ep.Node != none || ep.ForZones != none || ep.ForNodes != none {
			t.Errorf("the index has a node or hints: %+v", ep)
		}
	}
}
