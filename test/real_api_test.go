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
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
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

var beforeShop = []question{
	{"kubernetes.default.svc", dns.TypeA, "NOERROR; A 10.96.0.1"},
	{"_https._tcp.kubernetes.default.svc", dns.TypeSRV, "NOERROR; SRV 443 kubernetes.default.svc.cluster.local."},
	{"kube-dns.kube-system.svc", dns.TypeA, "NOERROR; A 10.96.0.10"},
	{"10.0.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR kube-dns.kube-system.svc.cluster.local."},
	{"dns-version", dns.TypeTXT, `NOERROR; TXT "1.1.0"`},
	{"shop.svc", dns.TypeA, "NXDOMAIN"},
	{"web.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"10-1-2-3.shop.pod", dns.TypeA, "NXDOMAIN"},
}

var shop = []question{
	{"shop.svc", dns.TypeA, "NOERROR"},
	{"10-1-2-3.shop.pod", dns.TypeA, "NOERROR; A 10.1.2.3"},
	{"web.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.1"},
	{"WEB.Shop.sVc", dns.TypeA, "NOERROR; A 10.96.7.1"},
	{"web.shop.svc", dns.TypeAAAA, "NOERROR"},
	{"nope.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"_http._tcp.web.shop.svc", dns.TypeSRV, "NOERROR; SRV 80 web.shop.svc.cluster.local."},
	{"_http._udp.web.shop.svc", dns.TypeSRV, "NXDOMAIN"},
	{"1.7.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR web.shop.svc.cluster.local."},
	{"99.7.96.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},

	{"_dns._udp.multi.shop.svc", dns.TypeSRV, "NOERROR; SRV 53 multi.shop.svc.cluster.local."},
	{"_dns-tcp._tcp.multi.shop.svc", dns.TypeSRV, "NOERROR; SRV 53 multi.shop.svc.cluster.local."},
	{"_metrics._tcp.multi.shop.svc", dns.TypeSRV, "NOERROR; SRV 9153 multi.shop.svc.cluster.local."},
	{"_dns._tcp.multi.shop.svc", dns.TypeSRV, "NXDOMAIN"},

	{"dual.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.3"},
	{"dual.shop.svc", dns.TypeAAAA, "NOERROR; AAAA fd00:10:96::73"},
	{"_https._tcp.dual.shop.svc", dns.TypeSRV, "NOERROR; SRV 443 dual.shop.svc.cluster.local."},
	{reverse("fd00:10:96::73"), dns.TypePTR, "NOERROR; PTR dual.shop.svc.cluster.local."},
	{"six.shop.svc", dns.TypeA, "NOERROR"},
	{"six.shop.svc", dns.TypeAAAA, "NOERROR; AAAA fd00:10:96::74"},

	{"db.shop.svc", dns.TypeA, "NOERROR; A 10.244.3.12; A 10.244.2.11; A 10.244.1.10"},
	{"db.shop.svc", dns.TypeAAAA, "NOERROR; AAAA fd00:10:244:1::10"},
	{"_pg._tcp.db.shop.svc", dns.TypeSRV, "NOERROR; SRV 5432 db-1.db.shop.svc.cluster.local.; SRV 5432 db-0.db.shop.svc.cluster.local.; SRV 5432 10-244-3-12.db.shop.svc.cluster.local."},
	{"db-0.db.shop.svc", dns.TypeA, "NOERROR; A 10.244.1.10"},
	{"db-0.db.shop.svc", dns.TypeAAAA, "NOERROR; AAAA fd00:10:244:1::10"},
	{"10-244-3-12.db.shop.svc", dns.TypeA, "NOERROR; A 10.244.3.12"},
	{"db-3.db.shop.svc", dns.TypeA, "NXDOMAIN"}, // not ready
	{reverse("10.244.2.11"), dns.TypePTR, "NOERROR; PTR db-1.db.shop.svc.cluster.local."},
	{reverse("10.244.3.12"), dns.TypePTR, "NOERROR; PTR 10-244-3-12.db.shop.svc.cluster.local."},

	{"docs.shop.svc", dns.TypeA, "NOERROR; CNAME docs.example.org.; A 192.0.2.80"},
	{"docs.shop.svc", dns.TypeCNAME, "NOERROR; CNAME docs.example.org."},
	{"alias.shop.svc", dns.TypeA, "NOERROR; CNAME web.shop.svc.cluster.local.; A 10.96.7.1"},
}

// changeShop changes objects in place.
func changeShop(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	updateService(t, client, "web", func(s *corev1.Service) {
		s.Spec.Ports[0].Port = 8080
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "admin", Port: 8443, TargetPort: intstr.FromInt32(8443)})
	})
	updateService(t, client, "docs", func(s *corev1.Service) { s.Spec.ExternalName = "manual.example.org" })
	updateService(t, client, "alias", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.ClusterIP = corev1.ServiceTypeClusterIP, "", "10.96.7.9"
		s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	})
	slices := client.DiscoveryV1().EndpointSlices("shop")
	slice, err := slices.Get(t.Context(), "db-4", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// db-1 goes, db-3 gets ready, db-9 comes.
	slice.Endpoints = append(slice.Endpoints[:1], slice.Endpoints[2:]...)
	slice.Endpoints[2].Conditions.Ready = new(true)
	slice.Endpoints = append(slice.Endpoints, endpoint("10.244.9.19", "db-9"))
	if _, err := slices.Update(t.Context(), slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

var changedShop = []question{
	{"web.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.1"},
	{"_http._tcp.web.shop.svc", dns.TypeSRV, "NOERROR; SRV 8080 web.shop.svc.cluster.local."},
	{"_admin._tcp.web.shop.svc", dns.TypeSRV, "NOERROR; SRV 8443 web.shop.svc.cluster.local."},
	{"docs.shop.svc", dns.TypeA, "NOERROR; CNAME manual.example.org.; A 192.0.2.80"},
	{"alias.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.9"},
	{"alias.shop.svc", dns.TypeCNAME, "NOERROR"},
	{"9.7.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR alias.shop.svc.cluster.local."},
	{"db.shop.svc", dns.TypeA, "NOERROR; A 10.244.9.19; A 10.244.4.13; A 10.244.3.12; A 10.244.1.10"},
	{"db-1.db.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"db-3.db.shop.svc", dns.TypeA, "NOERROR; A 10.244.4.13"},
	{"db-9.db.shop.svc", dns.TypeA, "NOERROR; A 10.244.9.19"},
	{reverse("10.244.2.11"), dns.TypePTR, "NXDOMAIN"},
	{reverse("10.244.9.19"), dns.TypePTR, "NOERROR; PTR db-9.db.shop.svc.cluster.local."},
	{"multi.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.2"}, // as it was
}

// recreateInShop replaces objects by others of the same name and another kind.
func recreateInShop(t *testing.T, client *kubernetes.Clientset) {
	t.Helper()
	services := client.CoreV1().Services("shop")
	for _, svc := range []*corev1.Service{
		{ // was a ClusterIP
			ObjectMeta: metav1.ObjectMeta{Name: "multi"},
			Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "metrics", Port: 9153}}},
		},
		{ // was headless; its slices stay
			ObjectMeta: metav1.ObjectMeta{Name: "db"},
			Spec:       corev1.ServiceSpec{ClusterIP: "10.96.7.5", Ports: []corev1.ServicePort{{Name: "pg", Port: 5432}}},
		},
	} {
		if err := services.Delete(t.Context(), svc.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := services.Create(t.Context(), svc, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.DiscoveryV1().EndpointSlices("shop").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "multi-1", Labels: map[string]string{discoveryv1.LabelServiceName: "multi"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: new("metrics"), Port: new(int32(9999)), Protocol: new(corev1.ProtocolTCP)}},
		Endpoints:   []discoveryv1.Endpoint{endpoint("10.244.5.5", "multi-0")},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

var recreatedShop = []question{
	{"multi.shop.svc", dns.TypeA, "NOERROR; A 10.244.5.5"},
	{"_metrics._tcp.multi.shop.svc", dns.TypeSRV, "NOERROR; SRV 9999 multi-0.multi.shop.svc.cluster.local."},
	{"_dns._udp.multi.shop.svc", dns.TypeSRV, "NXDOMAIN"},
	{"2.7.96.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
	{"db.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.5"},
	{"db.shop.svc", dns.TypeAAAA, "NOERROR"},
	{"_pg._tcp.db.shop.svc", dns.TypeSRV, "NOERROR; SRV 5432 db.shop.svc.cluster.local."},
	{"5.7.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR; PTR db.shop.svc.cluster.local."},
	{"web.shop.svc", dns.TypeA, "NOERROR; A 10.96.7.1"},
}

// deleteShop deletes what is in the namespace, then the namespace. There is no namespace controller behind
// this API server: the test takes its last step, too.
func deleteShop(t *testing.T, api *apiserver.Server, client *kubernetes.Clientset) {
	t.Helper()
	api.Kubectl(t, "delete", "--namespace=shop", "services,endpointslices", "--all")
	namespaces := client.CoreV1().Namespaces()
	if err := namespaces.Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns, err := namespaces.Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ns.Spec.Finalizers = nil
	if _, err := namespaces.Finalize(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

var afterShop = append([]question{
	{"db.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"multi-0.multi.shop.svc", dns.TypeA, "NXDOMAIN"},
	{"docs.shop.svc", dns.TypeCNAME, "NXDOMAIN"},
	{"1.7.96.10.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
	{reverse("10.244.5.5"), dns.TypePTR, "NXDOMAIN"},
	{reverse("fd00:10:96::73"), dns.TypePTR, "NXDOMAIN"},
}, beforeShop...)

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
		{"no certificate", fmt.Sprintf("endpoint %s\ntls %s %s %s", api.URL, absent, api.KeyFile, api.CAFile), []string{"tls", absent}},
		{"certificate of another key", fmt.Sprintf("endpoint %s\ntls %s %s %s", api.URL, api.CertFile, api.CAFile, api.CAFile), []string{"tls", api.CAFile}},
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

func updateService(t *testing.T, client *kubernetes.Clientset, name string, change func(*corev1.Service)) {
	t.Helper()
	services := client.CoreV1().Services("shop")
	svc, err := services.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	change(svc)
	if _, err := services.Update(t.Context(), svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func endpoint(address, hostname string) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{address}, Hostname: &hostname, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}
}

// reverse returns the name under which an address has its PTR record.
func reverse(address string) string {
	name, err := dns.ReverseAddr(address)
	if err != nil {
		panic(err)
	}
	return name
}
