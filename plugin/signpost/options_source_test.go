package signpost

import (
	"os"
	"time"

	"github.com/signpost-dns/signpost/internal/source/kube"
)

var sourceOptionTests = []optionTest{
	{"startup_timeout", "startup_timeout 1m", func(s *stanza) { s.startupTimeout = time.Minute }, ""},
	{"startup_timeout 0", "startup_timeout 0s", func(s *stanza) { s.startupTimeout = 0 }, ""},
	{"startup_timeout 0 without unit", "startup_timeout 0", func(s *stanza) { s.startupTimeout = 0 }, ""},
	{"startup_timeout no unit", "startup_timeout 5", nil, "option startup_timeout 5: want a duration with its unit"},
	{"startup_timeout negative", "startup_timeout -5s", nil, "option startup_timeout -5s: want a duration"},
	{"startup_timeout none", "startup_timeout", nil, "option startup_timeout: want DURATION"},

	{"endpoint", "endpoint http://127.0.0.1:8001", func(s *stanza) { s.feed.kube.Endpoint = "http://127.0.0.1:8001" }, ""},
	{"endpoints", "endpoint http://a http://b", func(s *stanza) { s.feed.kube.Endpoint = "http://a" }, ""},
	{"endpoint none", "endpoint", nil, "option endpoint: want URL"},

	{"tls", "endpoint https://a\ntls c k ca", func(s *stanza) {
		s.feed.kube = kube.Config{Endpoint: "https://a", CertFile: "c", KeyFile: "k", CAFile: "ca"}
	}, ""},
	{"tls two", "tls c k", nil, "option tls c k: want CERT KEY CACERT"},

	{"kubeconfig", "kubeconfig f", func(s *stanza) { s.feed.kube.Kubeconfig = "f" }, ""},
	{"kubeconfig context", "kubeconfig f c", func(s *stanza) { s.feed.kube.Kubeconfig, s.feed.kube.Context = "f", "c" }, ""},
	{"kubeconfig three", "kubeconfig f c d", nil, "option kubeconfig f c d: want FILE [CONTEXT]"},

	{"manifests", "manifests .", func(s *stanza) { s.feed.manifests = here() }, ""},
	{"manifests missing", "manifests ./nowhere", nil, "nowhere: no such file"},
	{"manifests a file", "manifests options.go", nil, "option manifests options.go: want a folder"},
	{"manifests and API", "endpoint http://a\nmanifests .", nil, "option manifests .: it replaces the Kubernetes API"},
}

// here is the folder that tests run in.
func here() string {
	dir, err := os.Getwd()
	if err != nil {
		return err.Error()
	}
	return dir
}
