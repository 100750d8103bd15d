package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/test/api"
)

// paper is where a test reads what was logged.
type paper struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *paper) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(text)
}

func (p *paper) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

func apiService(name, ip string, labels map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: labels},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
}

func apiSlice(service, pod string, labels map[string]string) *discoveryv1.EndpointSlice {
	name, port, protocol := "http", int32(8080), corev1.ProtocolTCP
	all := map[string]string{discoveryv1.LabelServiceName: service}
	for k, v := range labels {
		all[k] = v
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: service + "-1", Labels: all},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{pod}}},
	}
}

func apiNode(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}},
	}
}

// The API is reached while no rule for any Service exists, and its objects become
// rules; when it goes away the rules stay, and when it comes back they follow.
func TestFromAPI(t *testing.T) {
	netlab.Need(t)
	other := map[string]string{"service.kubernetes.io/service-proxy-name": "another"}
	headless := map[string]string{corev1.IsHeadlessService: ""}
	server := api.New(t)
	server.Put(apiNode("node-1"), apiNode("node-2"),
		apiService("web", "10.96.0.20", nil), apiSlice("web", "10.244.1.2", nil),
		apiService("theirs", "10.96.0.21", other), apiSlice("theirs", "10.244.1.9", other),
		apiService("names", "None", nil), apiSlice("names", "10.244.1.8", headless))

	ctx, cancel := context.WithCancel(t.Context())
	var log paper
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"--master=" + server.URL, "--hostname-override=node-1", "--conntrack-max-per-core=0"}, environment{&log, &log})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
		for _, family := range []string{"ip", "ip6"} {
			nft(t, nil, "", "delete", "table", family, "signpost")
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	until := func(what string, f func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not so after a minute", what)
			}
		}
	}
	rules := func() string { return nft(t, nil, "", "list", "ruleset") }
	get := func(url string) int {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
		r, err := client.Get(url)
		if err != nil {
			return 0
		}
		defer r.Body.Close()
		_, _ = io.Copy(io.Discard, r.Body)
		return r.StatusCode
	}

	until("web is routed", func() bool { return strings.Contains(rules(), ": 10.244.1.2 . 8080") })
	if got := rules(); strings.Contains(got, "10.96.0.21") || strings.Contains(got, "10.244.1.8") {
		t.Errorf("what is not for us is routed:\n%s", got)
	}
	for _, r := range server.Requests() {
		if strings.HasSuffix(r.Path, "/nodes") && r.Query.Get("fieldSelector") != "metadata.name=node-1" {
			t.Errorf("asked for more than its own Node: %v", r)
		}
		if !strings.Contains(r.UserAgent, "signpost-forwarder") {
			t.Errorf("it does not say who it is: %q", r.UserAgent)
		}
	}
	until("healthy", func() bool { return get("http://127.0.0.1:10256/healthz") == 200 })
	leaving := apiNode("node-1")
	leaving.Spec.Taints = []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectNoSchedule}}
	server.Put(leaving)
	until("the node is about to be deleted", func() bool { return get("http://127.0.0.1:10256/healthz") == 503 })
	for _, page := range []string{"livez", "readyz"} {
		if code := get("http://127.0.0.1:10256/" + page); code != 200 {
			t.Errorf("/%s of a node that is about to be deleted: %d", page, code)
		}
	}
	server.Put(apiNode("node-1"))
	until("the node stays", func() bool { return get("http://127.0.0.1:10256/healthz") == 200 })
	server.Delete(apiNode("node-1"))
	until("the node is gone", func() bool { return get("http://127.0.0.1:10256/healthz") == 503 })
	if code := get("http://127.0.0.1:10256/livez"); code != 200 {
		t.Errorf("/livez: %d", code)
	}

	server.Stop()
	server.Put(apiSlice("web", "10.244.1.3", nil)) // happens while nobody can ask
	if code := get("http://127.0.0.1:10256/livez"); code != 200 || !strings.Contains(rules(), ": 10.244.1.2 . 8080") {
		t.Errorf("without an API: /livez %d, rules\n%s", code, rules())
	}
	server.Start()
	until("the new backend is routed", func() bool {
		got := rules()
		return strings.Contains(got, ": 10.244.1.3 . 8080") && !strings.Contains(got, ": 10.244.1.2 . 8080")
	})
	if code := get("http://127.0.0.1:10249/debug/table"); code != 200 {
		t.Errorf("/debug/table: %d", code)
	}
}

// Where the API is: the user's word goes before the file's.
func TestConnection(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	text := `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://192.0.2.1:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, args, want string }{
		{"kubeconfig", "--kubeconfig=" + file, "https://192.0.2.1:6443 secret 5 10"},
		{"server before kubeconfig", "--master=https://192.0.2.2:6443 --kubeconfig=" + file, "https://192.0.2.2:6443 secret 5 10"},
		{"server alone", "--master=http://192.0.2.3:8080", "http://192.0.2.3:8080  5 10"},
		{"limits", "--kube-api-qps=50 --kube-api-burst=100 --kubeconfig=" + file, "https://192.0.2.1:6443 secret 50 100"},
	} {
		t.Run(c.name, func(t *testing.T) {
			loaded, err := config.Load(strings.Fields(c.args))
			if err != nil {
				t.Fatal(err)
			}
			rc, err := connection(loaded)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%s %s %v %v", rc.Host, rc.BearerToken, rc.QPS, rc.Burst); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// explain and plan find pods and nodes by the API, and say where a name is not there.
func TestExplainFromAPI(t *testing.T) {
	server := api.New(t)
	web := apiService("web", "10.96.0.20", nil)
	web.Spec.Type, web.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080
	other := apiNode("node-2")
	other.Status.Addresses[0].Address = "192.0.2.2"
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "client"}, Status: corev1.PodStatus{PodIP: "10.244.1.9"}}
	server.Put(apiNode("node-1"), other, web, apiSlice("web", "10.244.1.2", nil), pod)
	for _, c := range []struct{ args, want, wrong string }{
		{"explain pod/shop/client web.shop:http --hostname-override=node-1", "10.244.1.9 > 10.96.0.20:80/tcp: to 10.244.1.2:8080", ""},
		{"explain pod/client web.shop:http --hostname-override=node-1", "", "get pod default/client: it does not exist (use the address"},
		{"explain 10.244.1.9 web:80 --hostname-override=node-1", "", "no Service default/web that this proxy routes; one of this name is in shop"},
		{"explain 10.244.1.9 192.0.2.2:30080 --hostname-override=node-1", "192.0.2.2 is an address of node node-2: explain with --hostname-override=node-2", ""},
		{"explain 10.244.1.9 192.0.2.2:30080 --hostname-override=node-2", ": to 10.244.1.2:8080", ""},
		{"explain 10.244.1.9 web.shop:80 --hostname-override=nosuch", `no Node object is named "nosuch"`, ""},
		{"plan --hostname-override=nosuch", `# no Node object is named "nosuch"`, ""},
		{"plan --hostname-override=node-1 --nodeport-addresses=primary,localhost", "# the forwarder itself accepts TCP connections to NodePorts on 127.0.0.1, ::1", ""},
	} {
		out, err := do(t, append(strings.Fields(c.args), "--master="+server.URL)...)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v, want %q\n%s\nwant %q", c.args, err, c.wrong, out, c.want)
		}
	}
}
