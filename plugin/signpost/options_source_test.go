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

	{"apiserver_qps", "apiserver_qps 12.5", func(s *stanza) { s.feed.kube.QPS = 12.5 }, ""},
	{"apiserver_qps 0", "apiserver_qps 0", nil, ""},
	{"apiserver_qps negative", "apiserver_qps -1", nil, "option apiserver_qps -1: want requests per second, from 0 (the default) to 1000000"},
	{"apiserver_qps NaN", "apiserver_qps NaN", nil, "option apiserver_qps NaN: want requests"},
	{"apiserver_qps endless", "apiserver_qps +Inf", nil, "option apiserver_qps +Inf: want requests"},
	{"apiserver_qps words", "apiserver_qps many", nil, "option apiserver_qps many: want requests"},
	{"apiserver_qps none", "apiserver_qps", nil, "option apiserver_qps: want NUMBER"},
	{"apiserver_burst", "apiserver_burst 20", func(s *stanza) { s.feed.kube.Burst = 20 }, ""},
	{"apiserver_burst 0", "apiserver_burst 0", nil, ""},
	{"apiserver_burst fraction", "apiserver_burst 1.5", nil, "option apiserver_burst 1.5: want a number of requests, from 0 (the default) to 1000000"},
	{"apiserver_burst negative", "apiserver_burst -1", nil, "option apiserver_burst -1: want"},
	{"apiserver_burst too many", "apiserver_burst 1000001", nil, "option apiserver_burst 1000001: want"},
	{"apiserver_max_inflight", "apiserver_max_inflight 2", func(s *stanza) { s.feed.maxInFlight = 2 }, ""},
	{"apiserver_max_inflight 0", "apiserver_max_inflight 0", nil, ""},
	{"apiserver_max_inflight words", "apiserver_max_inflight few", nil, "option apiserver_max_inflight few: want a number of requests, from 0 (no limit) to 1000000"},
	{"apiserver_max_inflight two", "apiserver_max_inflight 1 2", nil, "option apiserver_max_inflight 1 2: want COUNT"},

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
