package healthcheck

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestProbes(t *testing.T) {
	const patience = time.Minute
	for _, c := range []struct {
		name                   string
		play                   func(h *Health)
		leaving                bool
		healthz, livez, readyz int
		families               string // in the body, with their health
	}{
		{"at the start", func(h *Health) {}, false, 503, 200, 503, ""},
		{"at the start, for long", func(h *Health) { time.Sleep(time.Hour) }, false, 503, 200, 503, ""},
		{"something waits before the first update", func(h *Health) { h.Queued(); time.Sleep(patience - 1) }, false, 503, 200, 503, ""},
		{"something waits for too long before the first update", func(h *Health) { h.Queued(); time.Sleep(patience) }, false, 503, 503, 503, ""},
		{"adopted", func(h *Health) { h.Adopted() }, false, 200, 200, 503, ""},
		{"adopted, and the node is about to go", func(h *Health) { h.Adopted() }, true, 503, 200, 503, ""},
		{"adopted, and something waits", func(h *Health) { h.Adopted(); h.Queued(); time.Sleep(patience - 1) }, false, 200, 200, 503, ""},
		{"adopted, and something waits for too long", func(h *Health) { h.Adopted(); h.Queued(); time.Sleep(patience) }, false, 503, 503, 503, ""},
		{"updated", func(h *Health) { h.Queued(); h.Updated(); time.Sleep(time.Hour) }, false, 200, 200, 200, "IPv4=true IPv6=true"},
		{"adopted and updated", func(h *Health) { h.Adopted(); h.Queued(); h.Updated() }, false, 200, 200, 200, "IPv4=true IPv6=true"},
		{"something waits", func(h *Health) { h.Updated(); h.Queued(); time.Sleep(patience - 1) }, false, 200, 200, 200, "IPv4=true IPv6=true"},
		{"something waits for too long", func(h *Health) { h.Updated(); h.Queued(); time.Sleep(patience) }, false, 503, 503, 503, "IPv4=false IPv6=false"},
		{"what came later does not count", func(h *Health) {
			h.Updated()
			h.Queued()
			time.Sleep(patience - time.Second)
			h.Queued()
			time.Sleep(time.Second)
		}, false, 503, 503, 503, "IPv4=false IPv6=false"},
		{"written at last", func(h *Health) { h.Updated(); h.Queued(); time.Sleep(time.Hour); h.Updated() }, false, 200, 200, 200, "IPv4=true IPv6=true"},
		{"the node is about to go", func(h *Health) { h.Updated(); time.Sleep(time.Second) }, true, 503, 200, 200, "IPv4=true IPv6=true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := NewHealth(patience, IPv4, IPv6)
				var answered []string
				p := Probes{h, func() bool { return !c.leaving }, func(page string, code int) {
					answered = append(answered, fmt.Sprint(page, code))
				}}.Handler()
				c.play(h)
				healthz, livez, readyz := get(p, "/healthz"), get(p, "/livez"), get(p, "/readyz")
				if healthz.Code != c.healthz || livez.Code != c.livez || readyz.Code != c.readyz {
					t.Errorf("codes %d %d %d, want %d %d %d", healthz.Code, livez.Code, readyz.Code, c.healthz, c.livez, c.readyz)
				}
				if want := fmt.Sprintf("[healthz%d livez%d readyz%d]", c.healthz, c.livez, c.readyz); fmt.Sprint(answered) != want {
					t.Errorf("counted %v, want %v", answered, want)
				}
				routed := fmt.Sprint(c.healthz == 200 || c.leaving && c.livez == 200)
				checkBody(t, healthz, c.healthz, routed, c.families, fmt.Sprint(!c.leaving))
				checkBody(t, livez, c.livez, fmt.Sprint(c.livez == 200), c.families, "<nil>")
				checkBody(t, readyz, c.readyz, fmt.Sprint(c.readyz == 200), c.families, "<nil>")
			})
		})
	}
}

func checkBody(t *testing.T, w *httptest.ResponseRecorder, code int, healthy, status, eligible string) {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	if w.Header().Get("Content-Type") != "application/json" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", w.Header())
	}
	if fmt.Sprint(body["healthy"]) != healthy || fmt.Sprint(body["nodeEligible"]) != eligible {
		t.Errorf("body %s: want healthy %s, nodeEligible %s", w.Body, healthy, eligible)
	}
	if recent := body["lastUpdated"] == body["currentTime"]; recent != (code == 200) {
		t.Errorf("body %s: lastUpdated is currentTime: %v", w.Body, recent)
	}
	families, _ := body["status"].(map[string]any)
	for _, f := range strings.Fields(status) {
		name, well, _ := strings.Cut(f, "=")
		one, ok := families[name].(map[string]any)
		if !ok || fmt.Sprint(one["healthy"]) != well || one["lastUpdated"] == nil {
			t.Errorf("body %s: family %s", w.Body, f)
		}
	}
	if len(families) != len(strings.Fields(status)) {
		t.Errorf("body %s: families, want %q", w.Body, status)
	}
}

// The very text is what scripts cut apart. It is that of kube-proxy 1.37.
func TestBodyIsThatOfKubeProxy(t *testing.T) {
	const now, before = `"2000-01-01T00:01:00Z"`, `"2000-01-01T00:00:00Z"`
	const family = `"status":{"IPv4":{"lastUpdated":` + before + `,"healthy":true}}}`
	for _, c := range []struct {
		page     string
		eligible bool
		want     string
	}{
		{"/healthz", true, `{"lastUpdated":` + now + `,"currentTime":` + now + `,"nodeEligible":true,"healthy":true,` + family},
		{"/healthz", false, `{"lastUpdated":` + before + `,"currentTime":` + now + `,"nodeEligible":false,"healthy":true,` + family},
		{"/livez", false, `{"lastUpdated":` + now + `,"currentTime":` + now + `,"healthy":true,` + family},
	} {
		synctest.Test(t, func(t *testing.T) { // it is 2000-01-01 in here
			h := NewHealth(time.Minute, IPv4)
			p := Probes{h, func() bool { return c.eligible }, func(string, int) {}}.Handler()
			h.Updated()
			time.Sleep(time.Minute)
			if got := get(p, c.page).Body.String(); got != c.want {
				t.Errorf("%s, eligible %v: got\n%s\nwant\n%s", c.page, c.eligible, got, c.want)
			}
		})
	}
}

func TestPages(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a_metric 1\n") })
	p := Pages{Mode: "nftables", Metrics: metrics, Config: func() any { return map[string]int{"a": 1} }, Table: func() string { return "10.96.0.1 tcp 443\n" }}
	profiled := p
	profiled.Profiling = true
	broken := p
	broken.Config = func() any { return func() {} }
	for _, c := range []struct {
		name  string
		pages Pages
		path  string
		code  int
		body  string
	}{
		{"metrics", p, "/metrics", 200, "a_metric 1\n"},
		{"alive", p, "/healthz", 200, "ok"},
		{"mode", p, "/proxyMode", 200, "nftables"},
		{"table", p, "/debug/table", 200, "10.96.0.1 tcp 443\n"},
		{"configuration", p, "/configz", 200, `{"kubeproxy.config.k8s.io":{"a":1}}`},
		{"configuration that is no JSON", broken, "/configz", 500, "json: unsupported type: func()\n"},
		{"no profiles", p, "/debug/pprof/cmdline", 404, "404 page not found\n"},
		{"profiles", profiled, "/debug/pprof/symbol", 200, "num_symbols: 1\n"},
		{"nothing", p, "/", 404, "404 page not found\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := get(c.pages.Handler(), c.path)
			if w.Code != c.code || w.Body.String() != c.body {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, c.code, c.body)
			}
		})
	}
}

// The pages of the process have the form of those of Kubernetes' components.
func TestStatusAndFlags(t *testing.T) {
	started := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	got := Status{Started: started, Version: "v1.2.3"}.text(started.Add(26*time.Hour+4*time.Minute+5*time.Second), []string{"/metrics", "/healthz"})
	want := `
signpost-forwarder statusz
Warning: this page is for people, and its form may change.

Started: Mon Nov 30 08:00:00 UTC 2026
Up: 26 hr 04 min 05 sec
Go version: ` + runtime.Version() + `
Binary version: v1.2.3
Paths: /healthz /metrics
`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	p := Pages{Metrics: http.NotFoundHandler(), Table: func() string { return "" }, Config: func() any { return nil }, Flags: map[string]string{"v": "2", "proxy-mode": ""}, Profiling: true}
	want = `
signpost-forwarder flagz
Warning: this page is for people, and its form may change.
proxy-mode: 
v: 2
`
	if w := get(p.Handler(), "/flagz"); w.Code != 200 || w.Body.String() != want {
		t.Errorf("%d %s\nwant %s", w.Code, w.Body, want)
	}
	status := get(p.Handler(), "/statusz").Body.String()
	_, paths, _ := strings.Cut(status, "Paths: ")
	for _, path := range strings.Fields(paths) {
		if path == "/debug/pprof/profile" || path == "/debug/pprof/trace" {
			continue // they take their time
		}
		if w := get(p.Handler(), path); w.Code == 404 && path != "/metrics" {
			t.Errorf("%s is listed and not there", path)
		}
	}
	if n := len(strings.Fields(paths)); n != 12 {
		t.Errorf("%d paths, want 12: %s", n, status)
	}
}

// freeAddr finds an address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// ask tries until somebody answers.
func ask(t *testing.T, url string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r, err := client.Get(url)
		if err == nil {
			defer r.Body.Close()
			body, _ := io.ReadAll(r.Body)
			return string(body)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestServerWaitsForItsAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told := make(chan string, 10)
	s := Server{Name: "health", Addr: taken.Addr().String(), Handler: Pages{Mode: "x", Metrics: http.NotFoundHandler()}.Handler(), pause: time.Millisecond,
		Logf: func(f string, args ...any) { told <- fmt.Sprintf(f, args...) }}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	if line := <-told; !strings.Contains(line, "serving health on "+s.Addr) || !strings.Contains(line, "retrying") {
		t.Errorf("logged %q", line)
	}
	time.Sleep(20 * time.Millisecond) // several attempts
	if len(told) > 0 {
		t.Errorf("logged again: %q", <-told)
	}
	taken.Close()
	if got := ask(t, "http://"+s.Addr+"/proxyMode"); got != "x" {
		t.Errorf("answered %q", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestServerFailsHard(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	s := Server{Name: "metrics", Addr: taken.Addr().String(), Handler: http.NotFoundHandler(), HardFail: true}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "serving metrics on "+s.Addr) {
		t.Errorf("error %v", err)
	}
}

// A request that does not end does not keep the process.
func TestServerEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	began := make(chan struct{})
	s := Server{Addr: freeAddr(t), HardFail: true, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	})}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		for {
			r, err := client.Get("http://" + s.Addr)
			if err == nil {
				r.Body.Close()
			}
			select {
			case <-began:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	<-began
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-asked
}

// Who is asked by another proxy's name: kube-proxy is one, we are not, nor is a web server.
func TestOther(t *testing.T) {
	answer := func(h http.Handler) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	health := Probes{Health: NewHealth(time.Minute), Eligible: func() bool { return false }, Answered: func(string, int) {}}.Handler()
	free, l := takePort(t)
	l.Close()
	for _, c := range []struct {
		name, addr string
		want       bool
	}{
		{"kube-proxy", answer(health), true},
		{"ours", answer(named(health)), false},
		{"a web server", answer(http.NotFoundHandler()), false},
		{"nobody", fmt.Sprintf("127.0.0.1:%d", free), false},
		{"no address", "somewhere", false},
	} {
		if got := Other(t.Context(), c.addr); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if _, port, err := net.SplitHostPort(c.addr); err == nil {
			if got := Other(t.Context(), "0.0.0.0:"+port); got != c.want {
				t.Errorf("%s on all addresses: %v, want %v", c.name, got, c.want)
			}
		}
	}
}
