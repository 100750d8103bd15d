package signpost

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/dnstap"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
	_ "github.com/coredns/coredns/plugin/view"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
)

// TestMain puts the plugin into the server's chain, as cmd/coredns does.
func TestMain(m *testing.M) {
	dnsserver.Directives = slices.Insert(slices.Clone(dnsserver.Directives), slices.Index(dnsserver.Directives, "kubernetes"), pluginName)
	dnsserver.Directives = slices.Insert(dnsserver.Directives, slices.Index(dnsserver.Directives, "health"), "duck")
	os.Exit(m.Run())
}

const webManifest = `{apiVersion: v1, kind: Service, metadata: {name: web, namespace: ns}, spec: {clusterIP: %s, ports: [{port: 80}]}}`

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".tmp", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		t.Fatal(err)
	}
}

func start(t *testing.T, corefile string) *caddy.Instance {
	t.Helper()
	caddy.Quiet, dnsserver.Quiet = true, true
	i, err := caddy.Start(input(corefile))
	if err != nil {
		t.Fatalf("starting\n%s\n%v", corefile, err)
	}
	return i
}

func input(corefile string) caddy.Input {
	return caddy.CaddyfileInput{Contents: []byte(corefile), Filepath: "Corefile", ServerTypeName: "dns"}
}

// lookup asks the server over the network.
func lookup(t *testing.T, i *caddy.Instance, network, qname string) *dns.Msg {
	t.Helper()
	var addr string
	for _, s := range i.Servers() {
		if network == "udp" {
			addr = s.LocalAddr().String()
		} else {
			addr = s.Addr().String()
		}
	}
	r := new(dns.Msg)
	r.SetQuestion(qname, dns.TypeA)
	m, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(r, addr)
	if err != nil {
		t.Fatalf("asking %s for %s: %v", addr, qname, err)
	}
	return m
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// A whole server: real sockets, a folder that changes, and nothing left behind.
func TestServer(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	web := filepath.Join(dir, "web.yaml")
	writeFile(t, web, fmt.Sprintf(webManifest, "10.96.0.1"))
	i := start(t, fmt.Sprintf(".:0 {\n signpost cluster.local {\n manifests %s\n}\n}", dir))
	defer stop(t, i)
	for _, network := range []string{"udp", "tcp"} {
		if m := lookup(t, i, network, "web.ns.svc.cluster.local."); len(m.Answer) != 1 || !strings.Contains(m.Answer[0].String(), "10.96.0.1") {
			t.Errorf("%s: %v", network, m)
		}
	}
	if m := lookup(t, i, "udp", "example.org."); m.Rcode != dns.RcodeServerFailure && m.Rcode != dns.RcodeRefused {
		t.Errorf("a name of nobody's: %v", m)
	}
	writeFile(t, web, fmt.Sprintf(webManifest, "10.96.0.2"))
	eventually(t, "the new address", func() bool {
		m := lookup(t, i, "udp", "web.ns.svc.cluster.local.")
		return len(m.Answer) == 1 && strings.Contains(m.Answer[0].String(), "10.96.0.2")
	})
	if err := os.Remove(web); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the name gone", func() bool {
		return lookup(t, i, "udp", "web.ns.svc.cluster.local.").Rcode == dns.RcodeNameError
	})
}

// serves waits until a server answers on both transports: one that is stopped or
// replaced before its goroutines serve is never done.
func serves(t *testing.T, i *caddy.Instance) {
	t.Helper()
	lookup(t, i, "udp", "serves.invalid.")
	lookup(t, i, "tcp", "serves.invalid.")
}

func stop(t *testing.T, i *caddy.Instance) {
	t.Helper()
	serves(t, i)
	i.ShutdownCallbacks()
	if err := i.Stop(); err != nil {
		t.Error(err)
	}
	i.Wait()
}

// freePort finds a port that nobody has: a reload takes listeners over by their
// address, so port 0 would mix them up.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// feedCount counts the feeds of this process.
func feedCount() int {
	feeds.Lock()
	defer feeds.Unlock()
	return len(feeds.byConfig)
}

// Two server blocks share one index, and a reload takes it over without a gap.
func TestFeedIsShared(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "web.yaml"), fmt.Sprintf(webManifest, "10.96.0.1"))
	port := freePort(t)
	stanza := fmt.Sprintf("signpost cluster.local {\n manifests %s\n ttl %%d\n}", dir)
	block := func(zone string, ttl int) string {
		return fmt.Sprintf("%s:%d {\n"+stanza+"\n}\n", zone, port, ttl)
	}
	i := start(t, block("cluster.local", 5)+block("example.org", 6))
	serves(t, i)
	if n := feedCount(); n != 1 {
		t.Errorf("%d feeds for two blocks, want 1", n)
	}
	store := newestFeeds()["manifests "+dir].store
	for n := range 3 {
		next, err := i.Restart(input(block("cluster.local", 10+n)))
		if err != nil {
			t.Fatal(err)
		}
		i = next
		serves(t, i)
		if m := lookup(t, i, "udp", "web.ns.svc.cluster.local."); len(m.Answer) != 1 || m.Answer[0].Header().Ttl != uint32(10+n) {
			t.Errorf("after reload %d: %v", n, m)
		}
		if newestFeeds()["manifests "+dir].store != store {
			t.Error("the reload began a new index")
		}
	}
	// Another way to read the same folder is another feed; the old one ends.
	other := strings.Replace(block("cluster.local", 5), "ttl", "endpoint_pod_names\n ttl", 1)
	next, err := i.Restart(input(other))
	if err != nil {
		t.Fatal(err)
	}
	if n := feedCount(); n != 1 || newestFeeds()["manifests "+dir].store == store {
		t.Errorf("%d feeds after the source changed, want a new one alone", n)
	}
	stop(t, next)
	if n := feedCount(); n != 0 {
		t.Errorf("%d feeds after the end", n)
	}
}

// A Corefile that cannot be used is an error that says why, and starts nothing.
func TestServerRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ stanza, want string }{
		"unknown option": {"signpost cluster.local {\n foo\n}", `plugin/signpost: `},
		"no folder":      {"signpost cluster.local {\n manifests /nowhere\n}", "/nowhere"},
		"no kubeconfig":  {"signpost cluster.local {\n kubeconfig /nowhere\n}", "/nowhere"},
		"no cluster":     {"signpost cluster.local", "plugin/signpost: "},
		"bad endpoint":   {"signpost cluster.local {\n endpoint http://[\n}", "plugin/signpost: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBERNETES_SERVICE_HOST", "")
			i, err := caddy.Start(input(".:0 {\n" + tt.stanza + "\n}"))
			if err == nil {
				stop(t, i)
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q, want one with %q", err, tt.want)
			}
			if n := feedCount(); n != 0 {
				t.Errorf("%d feeds left", n)
			}
		})
	}
}

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "web.yaml"), fmt.Sprintf(webManifest, "10.96.0.1"))
	i := start(t, fmt.Sprintf(".:0 {\n signpost cluster.local {\n manifests %s\n}\n}", dir))
	defer stop(t, i)
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, l := range m.Label {
				if l.GetName() == "kind" {
					name += " " + l.GetValue()
				}
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"coredns_signpost_synced": 1, "coredns_signpost_objects services": 1, "coredns_signpost_objects endpointslices": 0,
		"coredns_signpost_watch_failures_total services": 0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s: %v (there: %v), want %v", name, v, ok, want)
		}
	}
	if got["coredns_signpost_last_event_timestamp_seconds services"] == 0 {
		t.Error("no time of the last event")
	}
}
