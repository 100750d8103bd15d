package forward

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// TestRealForwarder goes through the life of a Service, an API server and a forwarder. Each step builds on the
// one before.
func TestRealForwarder(t *testing.T) {
	netlab.Need(t)
	w := newTown(t)
	for _, step := range []struct {
		name string
		do   func(*testing.T, *town)
	}{
		{"reaches the API without a rule", firstStart},
		{"Service and endpoints", created},
		{"an endpoint leaves", shrunk},
		{"no endpoints", emptied},
		{"two Services claim one address", contested},
		{"the API server stops", func(t *testing.T, w *town) { outage(t, w, w.api.Stop) }},
		{"the API server is killed", func(t *testing.T, w *town) { outage(t, w, w.api.Kill) }},
		{"the forwarder is killed", killed},
		{"the mode changes", switched},
		{"kube-proxy and the forwarder take turns", peered},
		{"the Service is deleted", deleted},
		{"cleanup", cleanedUp},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(t, w) }) {
			return
		}
	}
}

// firstStart begins with a node on which nobody routes anything: not the API server's Service either.
func firstStart(t *testing.T, w *town) {
	if found := w.tables(t); len(found) > 0 {
		t.Fatalf("before the forwarder was started there are tables: %q", found)
	}
	w.start(t)
	for _, says := range []string{w.api.URL, "node=" + w.node.Name} {
		if !strings.Contains(w.running.logged(), says) {
			t.Errorf("the forwarder does not say %q", says)
		}
	}
	// This one came from the API too, and has no endpoints here.
	kubernetes := netip.MustParseAddr(w.api.Kubectl(t, "get", "service", "kubernetes", "-o=jsonpath={.spec.clusterIP}"))
	y := way{w.client, "tcp", netip.AddrPortFrom(kubernetes, 443)}
	eventually(t, y.String()+" is refused", func() error {
		return y.refused(t.Context())
	})
}

func created(t *testing.T, w *town) {
	w.create(t)
	w.serve(t, "a", "b", "c")
	w.reaches(t, "a", "b", "c")
}

func shrunk(t *testing.T, w *town) {
	w.serve(t, "a", "b")
	w.reaches(t, "a", "b")
}

// emptied refuses at once, and serves again.
func emptied(t *testing.T, w *town) {
	w.serve(t)
	w.refuses(t)
	w.serve(t, "b", "c")
	w.reaches(t, "b", "c")
}

// contested has the owner of the younger Service find out by kubectl describe.
func contested(t *testing.T, w *town) {
	for _, name := range []string{"first", "second"} {
		w.apply(t, "apiVersion: v1\nkind: Service\nmetadata: {name: "+name+", namespace: default}\n"+
			"spec: {externalIPs: [192.0.2.9], ports: [{port: 80}]}\n")
	}
	eventually(t, "the younger Service has an Event", func() error {
		text := w.api.Kubectl(t, "get", "events")
		for _, name := range []string{"first", "second"} { // created in one second, the name decides
			text += w.api.Kubectl(t, "describe", "service", name)
		}
		if strings.Count(text, "FrontendConflict") != 2 || strings.Count(text, "it is older") != 2 {
			return errors.New(text)
		}
		return nil
	})
	w.api.Kubectl(t, "delete", "service", "first", "second")
}

// outage takes the API server away from a Service that b and c serve. Traffic goes on; when the server is back,
// its changes are followed.
func outage(t *testing.T, w *town, end func(testing.TB)) {
	const metrics = "http://127.0.0.1:10249/metrics"
	failing := func(value string) func(int, string) bool {
		return func(_ int, page string) bool {
			var kinds int
			for line := range strings.Lines(page) {
				if strings.HasPrefix(line, "signpost_watch_failing{") {
					kinds++
					if !strings.HasSuffix(line, "} "+value+"\n") {
						return false
					}
				}
			}
			return kinds > 0
		}
	}
	end(t)
	w.running.becomes(t, "the forwarder misses the API", metrics, failing("1"))
	w.goesOn(t, "b", "c")
	if code, body := w.running.host.Get(t.Context(), "http://127.0.0.1:10256/livez"); code != 200 {
		t.Errorf("without an API the forwarder wants to be restarted: /livez is %d %s", code, body)
	}
	w.api.Restart(t)
	w.serve(t, "a")
	w.reaches(t, "a")
	w.running.becomes(t, "the forwarder misses nothing", metrics, failing("0"))
	w.serve(t, "b", "c")
	w.reaches(t, "b", "c")
}

// killed ends the forwarder as a crash does. Its rules go on; the next one takes them over without losing a
// connection, and follows what happened meanwhile.
func killed(t *testing.T, w *town) {
	w.running.Kill()
	before := w.tables(t)
	if len(before) == 0 {
		t.Fatal("no table is left")
	}
	w.serve(t, "c")
	w.goesOn(t, "b", "c")

	stop := w.keepAsking(t, "b", "c")
	w.start(t)
	w.reaches(t, "c")
	if n := stop(); n == 0 {
		t.Error("nobody asked while the forwarder started")
	}
	if log := w.running.logged(); strings.Contains(log, "anew") {
		t.Errorf("the rules were not taken over:\n%s", log)
	}
	if after := w.tables(t); !slices.Equal(after, before) {
		t.Errorf("the tables are %q, before they were %q", after, before)
	}
	w.serve(t, "a", "b")
	w.reaches(t, "a", "b")
}

// deleted leaves the EndpointSlices, which lead nowhere alone.
func deleted(t *testing.T, w *town) {
	w.api.Kubectl(t, "delete", "service", "echo")
	w.isGone(t)
}

// cleanedUp ends the forwarder as a kubelet does, which leaves the rules, and removes these.
func cleanedUp(t *testing.T, w *town) {
	w.running.Signal(syscall.SIGTERM)
	if code := w.running.ends(t); code != 0 {
		t.Errorf("at SIGTERM the forwarder ended with code %d", code)
	}
	if strings.Contains(w.running.logged(), "forbidden") {
		t.Error("the forwarder asked for what it has no right to")
	}
	if !slices.ContainsFunc(w.tables(t), isOurs) {
		t.Error("no table is left, although nobody asked for a cleanup")
	}
	if code := startForwarder(t, w.node.Host, w.binary, "--cleanup").ends(t); code != 0 {
		t.Errorf("--cleanup ended with code %d", code)
	}
	if left := w.tables(t); slices.ContainsFunc(left, isOurs) {
		t.Errorf("--cleanup left %q", left)
	}
	if left := w.kubeChains(t); left != "" {
		t.Errorf("--cleanup left\n%s", left)
	}
}
