package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/signpost-dns/signpost/test/apiserver"
)

// plugins are asked the same questions: ours, and CoreDNS's own, whose answers here are those of the
// specification. Where the two differ is not the business of these tests.
var plugins = []string{"signpost", "kubernetes"}

// TestRealAPI points the real coredns at a real API server: objects come by kubectl and client-go, answers
// are read over real UDP and TCP.
func TestRealAPI(t *testing.T) {
	t.Parallel()
	api := apiserver.Start(t)
	binary := buildCoreDNS(t)
	t.Run("objects", func(t *testing.T) { testRealObjects(t, api, binary) })
	t.Run("bad options", func(t *testing.T) { testRealBadOptions(t, api, binary) })
	t.Run("the API refuses", func(t *testing.T) { testRealRefusal(t, api, binary) })
	t.Run("the API goes away", func(t *testing.T) { testRealOutage(t, api, binary) }) // last: it may leave it away
}

func realClient(t *testing.T, api *apiserver.Server) *kubernetes.Clientset {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", api.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// connections are the ways to reach the API from outside a cluster, as lines of the stanza.
func connections(t *testing.T, api *apiserver.Server) map[string]string {
	t.Helper()
	// A second context beside one that leads nowhere.
	contexts := filepath.Join(t.TempDir(), "kubeconfig")
	b, err := os.ReadFile(api.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(contexts, b, 0o600); err != nil {
		t.Fatal(err)
	}
	api.Kubectl(t, "config", "--kubeconfig", contexts, "set-context", "nowhere", "--cluster=none", "--user=none")
	api.Kubectl(t, "config", "--kubeconfig", contexts, "use-context", "nowhere")
	return map[string]string{
		"kubeconfig":         "kubeconfig " + api.Kubeconfig,
		"kubeconfig context": "kubeconfig " + contexts + " admin",
		"endpoint":           fmt.Sprintf("endpoint %s\ntls %s %s %s", api.URL, api.CertFile, api.KeyFile, api.CAFile),
		// As the Pods of the manifests do: by the token of their ServiceAccount, with no more than its rights.
		"service account": "kubeconfig " + api.ServiceAccountKubeconfig(t, "kube-system", "coredns"),
	}
}

// testRealObjects creates, changes and deletes objects, each step followed by all plugins over all
// connections.
func testRealObjects(t *testing.T, api *apiserver.Server, binary string) {
	api.Kubectl(t, "apply", "-k", fresh)
	var servers []*coredns
	for name, options := range connections(t, api) {
		for _, plugin := range plugins {
			servers = append(servers, startCoreDNS(t, binary, plugin+" by "+name, corefile{plugin, options}))
		}
	}
	client := realClient(t, api)
	for _, step := range []struct {
		name      string
		do        func(t *testing.T)
		questions []question
	}{
		{"nothing yet", func(*testing.T) {}, beforeShop},
		{"created", func(t *testing.T) { api.Kubectl(t, "apply", "-f", "testdata/real/shop.yaml") }, shop},
		{"changed", func(t *testing.T) { changeShop(t, client) }, changedShop},
		{"recreated as another kind", func(t *testing.T) { recreateInShop(t, client) }, recreatedShop},
		{"deleted", func(t *testing.T) { deleteShop(t, api, client) }, afterShop},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			step.do(t)
			converge(t, servers, step.questions)
			readiness(t, servers, http.StatusOK)
		}) {
			return // the next step builds on this one
		}
	}
}

// testRealOutage ends the API server and brings it back, with processes that know the cluster and processes
// that were started meanwhile.
func testRealOutage(t *testing.T, api *apiserver.Server, binary string) {
	for _, way := range []struct {
		name string
		end  func(testing.TB)
	}{{"stopped", api.Stop}, {"killed", api.Kill}} {
		if !t.Run(way.name, func(t *testing.T) {
			start := func(when string) (servers []*coredns) {
				for _, plugin := range plugins {
					servers = append(servers, startCoreDNS(t, binary, plugin+" started "+when, corefile{plugin, "kubeconfig " + api.Kubeconfig}))
				}
				return servers
			}
			service := func(name, ip string) question {
				return question{name + ".outage-" + way.name + ".svc", dns.TypeA, "NOERROR; A " + ip}
			}
			create := func(name, ip string) {
				api.Kubectl(t, "create", "service", "clusterip", name, "--namespace=outage-"+way.name, "--clusterip="+ip, "--tcp=80")
			}
			absent := func(name string) question {
				return question{name + ".outage-" + way.name + ".svc", dns.TypeA, "NXDOMAIN"}
			}
			ip := map[string]string{"stopped": "10.96.8.", "killed": "10.96.9."}[way.name]

			api.Kubectl(t, "create", "namespace", "outage-"+way.name)
			create("first", ip+"1")
			create("second", ip+"2")
			known := []question{service("first", ip+"1"), service("second", ip+"2"), absent("third"), {reverse(ip + "1"), dns.TypePTR, "NOERROR; PTR first.outage-" + way.name + ".svc.cluster.local."}}
			before := start("before")
			converge(t, before, known)
			readiness(t, before, http.StatusOK)

			way.end(t)
			steady(t, before, known)
			during := start("during")
			converge(t, during, []question{
				{known[0].name, dns.TypeA, "SERVFAIL"},
				{known[2].name, dns.TypeA, "SERVFAIL"}, // not NXDOMAIN, which resolvers would keep
				{known[3].name, dns.TypePTR, "SERVFAIL"},
				{"docs.example.org.", dns.TypeA, "NOERROR; A 192.0.2.80"}, // other zones are served
			})
			readiness(t, during, http.StatusServiceUnavailable)
			steady(t, before, known)
			readiness(t, before, http.StatusOK)
			metric(t, before, "coredns_signpost_watch_failures_total", func(sum float64) bool { return sum > 0 })

			api.Restart(t)
			create("third", ip+"3")
			api.Kubectl(t, "delete", "service", "second", "--namespace=outage-"+way.name)
			all := slices.Concat(before, during)
			converge(t, all, []question{known[0], absent("second"), service("third", ip+"3"), known[3]})
			readiness(t, all, http.StatusOK)
		}) {
			return
		}
	}
}

// testRealRefusal starts processes that the API server does not talk to. They serve SERVFAIL and are not
// ready. Ours also says why.
func testRealRefusal(t *testing.T, api *apiserver.Server, binary string) {
	stranger := api.UserKubeconfig(t, "stranger")
	for _, tt := range []struct {
		name    string
		options string
		reason  string // in the log
	}{
		{"no right", "kubeconfig " + stranger, "forbidden"},
		{"no such token", "kubeconfig " + kubeconfigWith(t, api, "set-credentials", "admin", "--token=wrong"), "Unauthorized"},
		{"another authority", "kubeconfig " + kubeconfigWith(t, api, "set-cluster", "test", "--certificate-authority="+api.CertFile, "--embed-certs"), "unknown authority"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var servers []*coredns
			for _, plugin := range plugins {
				servers = append(servers, startCoreDNS(t, binary, plugin, corefile{plugin, tt.options}))
			}
			converge(t, servers, []question{{"kubernetes.default.svc", dns.TypeA, "SERVFAIL"}})
			readiness(t, servers, http.StatusServiceUnavailable)
			metric(t, servers, "coredns_signpost_synced", func(sum float64) bool { return sum == 0 })
			metric(t, servers, "coredns_signpost_watch_failures_total", func(sum float64) bool { return sum > 0 })
			poll(t, servers, func() (found []string) {
				for _, s := range servers {
					if s.plugin == "signpost" && !strings.Contains(s.Tail(), tt.reason) {
						found = append(found, fmt.Sprintf("%s does not log %q", s.name, tt.reason))
					}
				}
				return found
			})
			if tt.name == "no right" { // and now it has
				api.Kubectl(t, "create", "clusterrolebinding", "stranger", "--clusterrole=system:coredns", "--user=stranger")
				converge(t, servers, []question{{"kubernetes.default.svc", dns.TypeA, "NOERROR; A 10.96.0.1"}})
				readiness(t, servers, http.StatusOK)
			}
		})
	}
}

// kubeconfigWith copies admin's kubeconfig and changes it by `kubectl config ARGS`.
func kubeconfigWith(t *testing.T, api *apiserver.Server, args ...string) string {
	t.Helper()
	b, err := os.ReadFile(api.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	api.Kubectl(t, append([]string{"config", "--kubeconfig", path}, args...)...)
	return path
}

// testRealBadOptions wants a process that cannot work to end at once, with a message that says which option,
// which value, and what is wrong with it.
func testRealBadOptions(t *testing.T, api *apiserver.Server, binary string) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("clusters: [unclosed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	absent := filepath.Join(dir, "absent")
	for _, tt := range []struct {
		name    string
		options string
		says    []string
	}{
		{"no kubeconfig", "kubeconfig " + absent, []string{"kubeconfig", absent, "no such file"}},
		{"kubeconfig is no YAML", "kubeconfig " + broken, []string{"kubeconfig", broken}},
		{"no such context", "kubeconfig " + api.Kubeconfig + " elsewhere", []string{"kubeconfig", api.Kubeconfig, "elsewhere"}},
		{"no certificate", fmt.Sprintf("endpoint %s\ntls %s %s %s", api.URL, absent, api.KeyFile, api.CAFile), []string{"endpoint", "certificate", absent, "no such file"}},
		{"certificate of another key", fmt.Sprintf("endpoint %s\ntls %s %s %s", api.URL, api.CertFile, api.CAFile, api.CAFile), []string{"endpoint", api.CertFile, api.CAFile}},
		{"endpoint is no URL", "endpoint https://[::1", []string{"endpoint", "https://[::1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startCoreDNS(t, binary, "signpost", corefile{"signpost", tt.options})
			select {
			case <-s.Exited():
				if s.Err() == nil {
					t.Error("it ended with exit code 0")
				}
			case <-time.After(convergeTimeout):
				t.Fatal("it goes on")
			}
			for _, want := range tt.says {
				if !strings.Contains(s.Tail(), want) {
					t.Errorf("it does not say %q", want)
				}
			}
		})
	}
}
