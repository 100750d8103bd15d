package signpost

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	golog "log"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/test/api"
)

// Each plugin that works on our answers or asks us something, in a whole server.

// town is a folder with one of what these tests ask for. This process, which asks,
// is the pod "client".
func town(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "town.yaml"), `
{apiVersion: v1, kind: Service, metadata: {name: web, namespace: shop}, spec: {clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]}}
---
{apiVersion: v1, kind: Service, metadata: {name: crowd, namespace: shop}, spec: {clusterIP: None}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: crowd-1, namespace: shop, labels: {kubernetes.io/service-name: crowd}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1]}, {addresses: [10.1.0.2]}, {addresses: [10.1.0.3]}, {addresses: [10.1.0.4]}]
ports: [{name: http, port: 8080}]
---
{apiVersion: v1, kind: Pod, metadata: {name: client, namespace: shop, labels: {tier: front}}, status: {podIP: 127.0.0.1}}
---
{apiVersion: v1, kind: Pod, metadata: {name: other, namespace: shop}, status: {podIP: 10.1.0.9}}
`)
	return dir
}

// apiService is a ClusterIP Service in the namespace ns, as the API has it.
func apiService(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func question1(qname string, qtype uint16) *dns.Msg { return new(dns.Msg).SetQuestion(qname, qtype) }

// exchange asks the n-th server of an instance over UDP.
func exchange(t *testing.T, i *caddy.Instance, n int, r *dns.Msg) *dns.Msg {
	t.Helper()
	addr := i.Servers()[n].LocalAddr().(*net.UDPAddr)
	m, _, err := (&dns.Client{Timeout: 10 * time.Second}).Exchange(r, fmt.Sprintf("127.0.0.1:%d", addr.Port))
	if err != nil {
		t.Fatalf("asking for %s: %v", r.Question[0].String(), err)
	}
	return m
}

func answers(m *dns.Msg) string {
	var list []string
	for _, rr := range m.Answer {
		list = append(list, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	return strings.Join(list, "; ")
}

func TestAutopath(t *testing.T) {
	dir := town(t)
	i := start(t, fmt.Sprintf(`.:0 {
 bind 127.0.0.1
 autopath @signpost
 signpost cluster.local {
  manifests %s
  pods verified
 }
 hosts {
  192.0.2.80 www.example.org
  fallthrough
 }
}`, dir))
	defer stop(t, i)
	for _, c := range []struct{ asked, want string }{
		{"www.example.org.shop.svc.cluster.local.", "www.example.org.shop.svc.cluster.local. 3600 IN CNAME www.example.org.; www.example.org. 3600 IN A 192.0.2.80"},
		{"web.shop.shop.svc.cluster.local.", "web.shop.shop.svc.cluster.local. 5 IN CNAME web.shop.svc.cluster.local.; web.shop.svc.cluster.local. 5 IN A 10.96.0.1"},
		{"web.shop.svc.cluster.local.", "web.shop.svc.cluster.local. 5 IN A 10.96.0.1"},
		{"www.example.org.other.svc.cluster.local.", ""}, // not the search list of this client
	} {
		for range 2 { // what autopath does to a message must not reach the next one
			m := exchange(t, i, 0, question1(c.asked, dns.TypeA))
			if got := answers(m); got != c.want || m.Question[0].Name != c.asked {
				t.Errorf("%s: %s\nwant %s", c.asked, got, c.want)
			}
		}
	}
	// Another pod in the client's address: whose search list it is cannot be known.
	writeFile(t, filepath.Join(dir, "host.yaml"), `{apiVersion: v1, kind: Pod, metadata: {name: agent, namespace: system}, status: {podIP: 127.0.0.1}}`)
	eventually(t, "no guess about a shared address", func() bool {
		return exchange(t, i, 0, question1("www.example.org.shop.svc.cluster.local.", dns.TypeA)).Rcode == dns.RcodeNameError
	})
}

// lines gathers what is logged.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// The labels of the plugin kubernetes in a log format and in the expressions of
// views: the names stay, so that only the word in the Corefile changes.
func TestMetadataLogAndView(t *testing.T) {
	var out lines
	golog.SetOutput(&out)
	defer golog.SetOutput(io.Discard) // as log_test.go has it
	const format = "{/kubernetes/client-namespace}/{/kubernetes/client-pod-name}/{/kubernetes/client-label/tier} {/kubernetes/kind}," +
		"{/kubernetes/namespace},{/kubernetes/service},{/kubernetes/endpoint},{/kubernetes/port-name},{/kubernetes/protocol},{/kubernetes/parse-error},{/kubernetes/zone}"
	block := func(view, want string, ttl int) string {
		return fmt.Sprintf(`.:%%[1]d {
 bind 127.0.0.1
 metadata
 %s
 log . "%s %s"
 signpost cluster.local {
  manifests %%[2]s
  pods verified
  ttl %d
  %s
 }
}
`, view, want, format, ttl, map[bool]string{true: "zonal"}[want == "rest"])
	}
	view := func(name, expression string) string { return fmt.Sprintf("view %s {\n  expr %s\n }", name, expression) }
	corefile := block(view("nobody", `metadata('kubernetes/client-namespace') == 'elsewhere'`), "nobody", 10) +
		block(view("pods", `metadata('kubernetes/client-label/tier') == 'front' && metadata('kubernetes/service') == 'crowd'`), "crowd", 20) +
		block("", "rest", 30)
	i := start(t, fmt.Sprintf(corefile, freePort(t), town(t)))
	defer stop(t, i)
	for _, c := range []struct {
		qname string
		ttl   uint32
		want  string
	}{
		{"web.shop.svc.cluster.local.", 30, "rest shop/client/front svc,shop,web,,,,-,"},
		{"crowd.shop.svc.cluster.local.", 20, "crowd shop/client/front svc,shop,crowd,,,,-,-"},
		{"10-1-0-2.crowd.shop.svc.cluster.local.", 20, "crowd shop/client/front svc,shop,crowd,10-1-0-2,,,-,-"},
		{"_http._tcp.web.shop.svc.cluster.local.", 30, "rest shop/client/front svc,shop,web,,http,tcp,-,"},
		{"http.tcp.web.shop.svc.cluster.local.", 30, "rest shop/client/front svc,shop,web,,http,tcp,-,"},
		{"10-1-0-9.shop.pod.cluster.local.", 30, "rest shop/client/front pod,shop,10-1-0-9,,,,-,"},
		{"SHOP.svc.cluster.local.", 30, "rest shop/client/front svc,shop,,,,,-,"},
		{"svc.cluster.local.", 30, "rest shop/client/front ,,,,,,-,"},
		{"foo.cluster.local.", 30, "rest shop/client/front -,-,-,-,-,-,invalid query name,-"},
		{"z.1.pin._zone.crowd.shop.svc.cluster.local.", 30, "rest shop/client/front svc,shop,crowd,,,,-,z.1"},
		{"z.1.any._zone.crowd.shop.svc.cluster.local.", 30, "rest shop/client/front -,-,-,-,-,-,invalid query name,-"},
		{"a.b.c.web.shop.svc.cluster.local.", 30, "rest shop/client/front -,-,-,-,-,-,invalid query name,-"},
	} {
		m := exchange(t, i, 0, question1(c.qname, dns.TypeA))
		for _, rr := range slices.Concat(m.Answer, m.Ns) {
			if rr.Header().Ttl != c.ttl {
				t.Errorf("%s: %v, want the view with ttl %d", c.qname, rr, c.ttl)
			}
		}
		eventually(t, "the log line "+c.want, func() bool { return strings.Contains(out.String(), "[INFO] "+c.want+"\n") })
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// ready waits for the first sync, and health does not: a pod that waits for the API
// must not be killed for it.
func TestReadyAndHealth(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	s := api.New(t)
	s.Put(apiService("web", "10.0.0.1"))
	s.Refuse(503)
	readyPort, healthPort := freePort(t), freePort(t)
	i := start(t, fmt.Sprintf(`.:0 {
 bind 127.0.0.1
 ready 127.0.0.1:%d
 health 127.0.0.1:%d
 signpost cluster.local {
  endpoint %s
  startup_timeout 0s
 }
}`, readyPort, healthPort, s.URL))
	defer stop(t, i)
	readyURL, healthURL := fmt.Sprintf("http://127.0.0.1:%d/ready", readyPort), fmt.Sprintf("http://127.0.0.1:%d/health", healthPort)
	if code, body := get(t, readyURL); code != 503 || !strings.Contains(body, "signpost") {
		t.Errorf("ready before the first sync: %d %q", code, body)
	}
	if code, body := get(t, healthURL); code != 200 {
		t.Errorf("health before the first sync: %d %q", code, body)
	}
	if m := exchange(t, i, 0, question1("web.ns.svc.cluster.local.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("an answer before the first sync: %v", m)
	}
	s.Refuse(0)
	eventually(t, "ready after the first sync", func() bool { code, _ := get(t, readyURL); return code == 200 })
	if m := exchange(t, i, 0, question1("web.ns.svc.cluster.local.", dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("when ready: %v", m)
	}
	s.Stop() // the API goes away: what is known is served
	if code, body := get(t, readyURL); code != 200 {
		t.Errorf("ready without an API: %d %q", code, body)
	}
}

// loadbalance turns the records of every answer; ours are never the same memory.
func TestLoadbalance(t *testing.T) {
	i := start(t, fmt.Sprintf(`.:0 {
 bind 127.0.0.1
 loadbalance round_robin
 signpost cluster.local {
  manifests %s
 }
}`, town(t)))
	defer stop(t, i)
	first := map[string]int{}
	for range 100 {
		m := exchange(t, i, 0, question1("crowd.shop.svc.cluster.local.", dns.TypeA))
		var list []string
		for _, rr := range m.Answer {
			list = append(list, rr.(*dns.A).A.String())
		}
		first[list[0]]++
		slices.Sort(list)
		if got := strings.Join(list, " "); got != "10.1.0.1 10.1.0.2 10.1.0.3 10.1.0.4" {
			t.Fatalf("the set is %s", got)
		}
	}
	if len(first) < 4 {
		t.Errorf("first of 100 answers: %v, want each of four", first)
	}
}

// cache keeps what it was told to keep and nothing else, in a zone with fallthrough, and counts its time down
// without a trace in our records.
func TestCache(t *testing.T) {
	dir := town(t)
	block := func(options string) string {
		return fmt.Sprintf(".:0 {\n bind 127.0.0.1\n cache 30 {\n%s\n }\n signpost cluster.local {\n  manifests %s\n  ttl 30\n  fallthrough\n }\n}\n", options, dir)
	}
	kept, passed := start(t, block("")), start(t, block("disable success cluster.local\n disable denial cluster.local"))
	defer stop(t, kept)
	defer stop(t, passed)
	q := question1("web.shop.svc.cluster.local.", dns.TypeA)
	gone := question1("gone.shop.svc.cluster.local.", dns.TypeA)
	for range 2 {
		for _, i := range []*caddy.Instance{kept, passed} {
			if got := answers(exchange(t, i, 0, q)); !strings.Contains(got, "10.96.0.1") {
				t.Fatal(got)
			}
			if m := exchange(t, i, 0, gone); m.Rcode != dns.RcodeNameError {
				t.Fatal(m)
			}
		}
	}
	writeFile(t, filepath.Join(dir, "town.yaml"), fmt.Sprintf(strings.ReplaceAll(webManifest, "namespace: ns", "namespace: shop"), "10.96.0.2")+
		"\n---\n"+fmt.Sprintf(strings.ReplaceAll(webManifest, "name: web, namespace: ns", "name: gone, namespace: shop"), "10.96.0.3"))
	eventually(t, "the change, without the cache", func() bool { return strings.Contains(answers(exchange(t, passed, 0, q)), "10.96.0.2") })
	if m := exchange(t, passed, 0, gone); len(m.Answer) != 1 {
		t.Errorf("without the cache: %v", m)
	}
	if got := answers(exchange(t, kept, 0, q)); !strings.Contains(got, "10.96.0.1") {
		t.Errorf("from the cache: %s", got)
	}
	if m := exchange(t, kept, 0, gone); m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 {
		t.Errorf("from the cache: %v", m)
	}
}

// dnstap gets the answer as it left, by frame streams
// (https://farsightsec.github.io/fstrm/).
func TestDnstap(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	frames := make(chan []byte, 16)
	go collectFrames(l, frames)
	i := start(t, fmt.Sprintf(`.:0 {
 bind 127.0.0.1
 dnstap tcp://%s full
 signpost cluster.local {
  manifests %s
 }
}`, l.Addr(), town(t)))
	defer stop(t, i)
	exchange(t, i, 0, question1("web.shop.svc.cluster.local.", dns.TypeA))
	var seen int
	deadline := time.After(20 * time.Second)
	for seen != 2 {
		select {
		case f := <-frames:
			if bytes.Contains(f, []byte("\x03web\x04shop\x03svc\x07cluster\x05local\x00")) {
				if seen++; seen == 2 && !bytes.Contains(f, []byte{0, 4, 10, 96, 0, 1}) {
					t.Errorf("the second frame is no answer: %q", f)
				}
			}
		case <-deadline:
			t.Fatalf("%d frames about the query, want the query and the answer", seen)
		}
	}
}

// collectFrames is a receiver: it takes the handshake, then passes the data on.
func collectFrames(l net.Listener, frames chan<- []byte) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	const readyFrame, accept = 4, 1
	for {
		var length uint32
		if binary.Read(conn, binary.BigEndian, &length) != nil {
			return
		}
		control := length == 0
		if control && binary.Read(conn, binary.BigEndian, &length) != nil {
			return
		}
		frame := make([]byte, length)
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		if !control {
			frames <- frame
			continue
		}
		if binary.BigEndian.Uint32(frame) == readyFrame {
			binary.BigEndian.PutUint32(frame, accept)
			_, _ = conn.Write(slices.Concat(make([]byte, 4), binary.BigEndian.AppendUint32(nil, length), frame))
		}
	}
}
