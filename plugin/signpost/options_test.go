package signpost

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signpost-dns/signpost/internal/source/kube"
)

func defaults(change func(*stanza)) *stanza {
	s := &stanza{zones: []string{"cluster.local."}, ttl: 5, startupTimeout: 5 * time.Second}
	if change != nil {
		change(s)
	}
	return s
}

func TestParse(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, corefile string
		want           *stanza
		err            string // a part of the error; empty: none
	}{
		{"no block", `signpost cluster.local`, defaults(nil), ""},
		{"zones of the server block", `signpost`, defaults(func(s *stanza) { s.zones = []string{"example.org."} }), ""},
		{"reverse by CIDR", `signpost cluster.local 10.0.0.0/16`, defaults(func(s *stanza) { s.zones = []string{"cluster.local.", "0.10.in-addr.arpa."} }), ""},
		{"upper case", `signpost Cluster.LOCAL`, defaults(nil), ""},
		{"only reverse", `signpost in-addr.arpa`, nil, "want at least one that is not a reverse zone"},
		{"twice", "signpost cluster.local\nsignpost cluster.local", nil, "once per Server Block"},
		{"unknown", "signpost cluster.local {\n resyncperiod 5m\n}", nil, `unknown option "resyncperiod"`},
		{"ttl", "signpost cluster.local {\n ttl 30\n}", defaults(func(s *stanza) { s.ttl = 30 }), ""},
		{"ttl 0", "signpost cluster.local {\n ttl 0\n}", defaults(func(s *stanza) { s.ttl = 0 }), ""},
		{"ttl too high", "signpost cluster.local {\n ttl 3601\n}", nil, "option ttl 3601: want a whole number of seconds from 0 to 3600"},
		{"ttl negative", "signpost cluster.local {\n ttl -1\n}", nil, "option ttl -1: want"},
		{"ttl words", "signpost cluster.local {\n ttl 5s\n}", nil, "option ttl 5s: want"},
		{"ttl none", "signpost cluster.local {\n ttl\n}", nil, "want SECONDS"},
		{"ttl two", "signpost cluster.local {\n ttl 1 2\n}", nil, "want SECONDS"},
		{"pods disabled", "signpost cluster.local {\n pods disabled\n}", defaults(nil), ""},
		{"pods insecure", "signpost cluster.local {\n pods insecure\n}", defaults(func(s *stanza) { s.pods = podsInsecure }), ""},
		{"pods verified", "signpost cluster.local {\n pods verified\n}", defaults(func(s *stanza) { s.pods = podsVerified; s.feed.pods = true }), ""},
		{"pods maybe", "signpost cluster.local {\n pods maybe\n}", nil, "option pods maybe: want disabled, insecure or verified"},
		{"pods none", "signpost cluster.local {\n pods\n}", nil, "want disabled|insecure|verified"},
		{"fallthrough all", "signpost cluster.local {\n fallthrough\n}", defaults(func(s *stanza) { s.fall = fall.Root }), ""},
		{"fallthrough some", "signpost cluster.local {\n fallthrough in-addr.arpa ip6.arpa\n}", defaults(func(s *stanza) {
			s.fall = fall.F{Zones: []string{"in-addr.arpa.", "ip6.arpa."}}
		}), ""},
		{"endpoint_pod_names", "signpost cluster.local {\n endpoint_pod_names\n}", defaults(func(s *stanza) { s.feed.podNames = true }), ""},
		{"endpoint_pod_names on", "signpost cluster.local {\n endpoint_pod_names on\n}", nil, "want no argument"},
		{"startup_timeout", "signpost cluster.local {\n startup_timeout 1m\n}", defaults(func(s *stanza) { s.startupTimeout = time.Minute }), ""},
		{"startup_timeout 0", "signpost cluster.local {\n startup_timeout 0s\n}", defaults(func(s *stanza) { s.startupTimeout = 0 }), ""},
		{"startup_timeout no unit", "signpost cluster.local {\n startup_timeout 5\n}", nil, "want a duration with its unit"},
		{"startup_timeout negative", "signpost cluster.local {\n startup_timeout -5s\n}", nil, "want a duration"},
		{"endpoint", "signpost cluster.local {\n endpoint http://127.0.0.1:8001\n}", defaults(func(s *stanza) { s.feed.kube.Endpoint = "http://127.0.0.1:8001" }), ""},
		{"endpoints", "signpost cluster.local {\n endpoint http://a http://b\n}", defaults(func(s *stanza) { s.feed.kube.Endpoint = "http://a" }), ""},
		{"endpoint none", "signpost cluster.local {\n endpoint\n}", nil, "want URL"},
		{"tls", "signpost cluster.local {\n endpoint https://a\n tls c k ca\n}", defaults(func(s *stanza) {
			s.feed.kube = kube.Config{Endpoint: "https://a", CertFile: "c", KeyFile: "k", CAFile: "ca"}
		}), ""},
		{"tls two", "signpost cluster.local {\n tls c k\n}", nil, "want CERT KEY CACERT"},
		{"kubeconfig", "signpost cluster.local {\n kubeconfig f\n}", defaults(func(s *stanza) { s.feed.kube.Kubeconfig = "f" }), ""},
		{"kubeconfig context", "signpost cluster.local {\n kubeconfig f c\n}", defaults(func(s *stanza) {
			s.feed.kube.Kubeconfig, s.feed.kube.Context = "f", "c"
		}), ""},
		{"kubeconfig three", "signpost cluster.local {\n kubeconfig f c d\n}", nil, "want FILE [CONTEXT]"},
		{"manifests", "signpost cluster.local {\n manifests .\n}", defaults(func(s *stanza) { s.feed.manifests = here }), ""},
		{"manifests missing", "signpost cluster.local {\n manifests ./nowhere\n}", nil, "nowhere: no such file"},
		{"manifests a file", "signpost cluster.local {\n manifests options.go\n}", nil, "want a folder"},
		{"manifests and API", "signpost cluster.local {\n manifests .\n endpoint http://a\n}", nil, "replaces the Kubernetes API"},
	}
	tested := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for name := range options {
				tested[name] = tested[name] || strings.Contains(tt.corefile, " "+name)
			}
			c := caddy.NewTestController("dns", tt.corefile)
			c.ServerBlockKeys = []string{"example.org"}
			got, err := parse(c)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(stanza{}, feedConfig{}), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("stanza (-want +got):\n%s", diff)
			}
		})
	}
	for name := range options {
		if !tested[name] {
			t.Errorf("option %s has no row", name)
		}
	}
}

// Every option of the peer is either here or refused by name.
func TestOptionsOfKubernetes(t *testing.T) {
	for _, name := range strings.Fields(`endpoint tls kubeconfig apiserver_qps apiserver_burst apiserver_max_inflight namespaces
		namespace_labels labels pods endpoint_pod_names ttl noendpoints fallthrough ignore multicluster zonal startup_timeout`) {
		_, known := options[name]
		if known == later[name] {
			t.Errorf("option %s: known %v, refused %v; want one of them", name, known, later[name])
		}
	}
}
