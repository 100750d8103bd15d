package signpost

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/test/api"
)

// edns asks with EDNS over the network and returns the answer with its code of
// Extended DNS Errors, -1 if there is none.
func edns(t *testing.T, i *caddy.Instance, qname string) (*dns.Msg, int) {
	t.Helper()
	r := new(dns.Msg)
	r.SetQuestion(qname, dns.TypeA)
	r.SetEdns0(1232, true)
	m, _, err := (&dns.Client{Timeout: 5 * time.Second}).Exchange(r, i.Servers()[0].LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return m, extendedError(m)
}

func extendedError(m *dns.Msg) int {
	if opt := m.IsEdns0(); opt != nil {
		for _, o := range opt.Option {
			if e, ok := o.(*dns.EDNS0_EDE); ok {
				return int(e.InfoCode)
			}
		}
	}
	return -1
}

// gathered returns the value of each metric of the plugin, by its name and the
// values of its labels but the source.
func gathered(t *testing.T) map[string]float64 {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := strings.TrimPrefix(f.GetName(), "coredns_signpost_")
			for _, l := range m.Label {
				if l.GetName() != "source" && l.GetName() != "dir" {
					name += " " + l.GetValue()
				}
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}

// readyNow asks the only plugin that runs.
func readyNow(t *testing.T, staleUnready bool) bool {
	t.Helper()
	feeds.Lock()
	defer feeds.Unlock()
	for _, f := range feeds.byConfig {
		s := &Signpost{settings: settings{staleUnready: staleUnready}, store: f.store, heard: f.heard}
		s.started.Store(true)
		return s.Ready()
	}
	t.Fatal("no feed")
	return false
}

// A process that is started while the API is away answers from the snapshot that
// the one before it left, says so, and forgets it with the first sync.
func TestSnapshot(t *testing.T) {
	a := api.New(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	defer a.Stop()
	a.Put(apiService("stays", "10.96.0.1"), apiService("goes", "10.96.0.2"))
	dir := t.TempDir()
	corefile := fmt.Sprintf(".:0 {\n signpost cluster.local {\n endpoint %s\n ttl 60\n snapshot %s\n startup_timeout 10s\n}\n}", a.URL, dir)
	first := start(t, corefile)
	eventually(t, "the first snapshot", func() bool { return gathered(t)["snapshot_writes_total"] > 0 })
	if m, code := edns(t, first, "goes.ns.svc.cluster.local."); len(m.Answer) != 1 || code >= 0 || m.Answer[0].Header().Ttl != 60 {
		t.Errorf("synced: %v", m)
	}
	if got := gathered(t); got["snapshot_load none"] != 1 || got["stale"] != 0 || got["snapshot_size_bytes"] == 0 {
		t.Errorf("metrics of a first start: %v", got)
	}
	a.Put(apiService("late", "10.96.0.3"))
	eventually(t, "a late Service", func() bool { return len(lookup(t, first, "udp", "late.ns.svc.cluster.local.").Answer) == 1 })
	heard := gathered(t)["data_timestamp_seconds"]
	stop(t, first)

	a.Stop()
	a.Delete(apiService("goes", ""))
	begin := time.Now()
	second := start(t, corefile)
	defer stop(t, second)
	if waited := time.Since(begin); waited > 5*time.Second {
		t.Errorf("the server started after %v", waited)
	}
	for qname, want := range map[string]struct {
		rcode, code, answers int
		ttl                  uint32
	}{
		"stays.ns.svc.cluster.local.": {dns.RcodeSuccess, 3, 1, 30},
		"goes.ns.svc.cluster.local.":  {dns.RcodeSuccess, 3, 1, 30},
		"late.ns.svc.cluster.local.":  {dns.RcodeSuccess, 3, 1, 30}, // written at the end
		"new.ns.svc.cluster.local.":   {dns.RcodeNameError, 19, 0, 5},
	} {
		m, code := edns(t, second, qname)
		if m.Rcode != want.rcode || code != want.code || len(m.Answer) != want.answers || !m.IsEdns0().Do() {
			t.Errorf("%s, want %+v: %v", qname, want, m)
			continue
		}
		for _, rr := range append(m.Answer, m.Ns...) {
			if soa, ok := rr.(*dns.SOA); rr.Header().Ttl != want.ttl || ok && soa.Minttl != want.ttl {
				t.Errorf("%s: TTL of %v, want %d", qname, rr, want.ttl)
			}
		}
		if m := lookup(t, second, "tcp", qname); m.IsEdns0() != nil || m.Rcode != want.rcode {
			t.Errorf("%s, asked without EDNS: %v", qname, m)
		}
	}
	got := gathered(t)
	if got["snapshot_load taken"] != 1 || got["stale"] != 1 || got["synced"] != 0 || got["snapshot_writes_total"] != 0 {
		t.Errorf("metrics of a restored index: %v", got)
	}
	if age := got["data_timestamp_seconds"] - heard; age < 0 || age > 5 {
		t.Errorf("the data are of %v s after the first process was asked", age)
	}
	if !readyNow(t, false) || readyNow(t, true) {
		t.Error("with a restored index: want ready, but not with `stale unready`")
	}

	a.Start()
	a.Put(apiService("new", "10.96.0.4"))
	eventually(t, "the first sync", func() bool {
		m, code := edns(t, second, "new.ns.svc.cluster.local.")
		return len(m.Answer) == 1 && code < 0 && m.Answer[0].Header().Ttl == 60
	})
	if m, code := edns(t, second, "goes.ns.svc.cluster.local."); m.Rcode != dns.RcodeNameError || code >= 0 {
		t.Errorf("what was deleted meanwhile: %v", m)
	}
	if got := gathered(t); got["stale"] != 0 || got["synced"] != 1 || !readyNow(t, true) {
		t.Errorf("metrics after the sync: %v", got)
	}
}

// What is wrong with a snapshot costs the snapshot: names are SERVFAIL as without one.
func TestSnapshotRefused(t *testing.T) {
	a := api.New(t)
	a.Put(apiService("web", "10.96.0.1"))
	for name, tt := range map[string]struct {
		option string // of the second process
		damage func(path string) error
		result string
	}{
		"damaged":          {"", func(path string) error { return os.Truncate(path, 100) }, "damaged"},
		"of another reach": {"endpoint_pod_names", nil, "none"},
		"too old":          {"", nil, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			corefile := fmt.Sprintf(".:0 {\n signpost cluster.local {\n endpoint %s\n startup_timeout 0s\n %%s\n snapshot %s %%s\n}\n}", a.URL, dir)
			first := start(t, fmt.Sprintf(corefile, "", ""))
			eventually(t, "a snapshot", func() bool { return gathered(t)["snapshot_writes_total"] > 0 })
			stop(t, first)
			if files, _ := filepath.Glob(filepath.Join(dir, "*.snapshot")); len(files) != 1 {
				t.Fatalf("%v in the folder", files)
			} else if tt.damage != nil {
				if err := tt.damage(files[0]); err != nil {
					t.Fatal(err)
				}
			}
			age := ""
			if tt.result == "old" {
				age = "1s"
				time.Sleep(2100 * time.Millisecond)
			}
			a.Stop()
			defer a.Start()
			second := start(t, fmt.Sprintf(corefile, tt.option, age))
			defer stop(t, second)
			if m := lookup(t, second, "udp", "web.ns.svc.cluster.local."); m.Rcode != dns.RcodeServerFailure {
				t.Errorf("%v", m)
			}
			if got := gathered(t); got["snapshot_load "+tt.result] != 1 || got["stale"] != 0 {
				t.Errorf("metrics %v", got)
			}
			if readyNow(t, false) {
				t.Error("ready without anything")
			}
		})
	}
}

// A reload may begin and end a snapshot of an index that goes on.
func TestSnapshotAcrossReload(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	a := api.New(t)
	a.Put(apiService("web", "10.96.0.1"))
	dirs := []string{"", t.TempDir(), t.TempDir()}
	block := func(dir string) string {
		option := ""
		if dir != "" {
			option = "snapshot " + dir
		}
		return fmt.Sprintf(".:0 {\n signpost cluster.local {\n endpoint %s\n %s\n}\n}", a.URL, option)
	}
	i := start(t, block(dirs[0]))
	serves(t, i)
	for _, dir := range []string{dirs[1], dirs[1], dirs[2], dirs[0]} {
		next, err := i.Restart(input(block(dir)))
		if err != nil {
			t.Fatal(err)
		}
		i = next
		serves(t, i)
		if n := feedCount(); n != 1 {
			t.Fatalf("%d feeds", n)
		}
		for _, f := range newestFeeds() {
			if kept := f.snapshots(); len(kept) > 1 || dir != "" && len(kept) != 1 {
				t.Errorf("kept in %v, want in %q", kept, dir)
			}
		}
	}
	stop(t, i)
	a.Stop()
	for _, dir := range dirs[1:] {
		if files, _ := filepath.Glob(filepath.Join(dir, "*.snapshot")); len(files) != 1 {
			t.Errorf("%s: %v, want one file that was written at the end", dir, files)
		}
	}
}

// Data that nobody confirmed for long make a server unready, if it is told so.
func TestReadyByAge(t *testing.T) {
	s := plugged(fixture(), func(s *Signpost) { s.staleAfter = time.Hour })
	for age, want := range map[time.Duration]bool{0: true, 59 * time.Minute: true, 61 * time.Minute: false} {
		s.heard = func() time.Time { return time.Now().Add(-age) }
		if s.Ready() != want {
			t.Errorf("data of %v ago: ready %v, want %v", age, s.Ready(), want)
		}
	}
}

// Records of others are not changed in place.
func TestStaleLeavesForeignRecords(t *testing.T) {
	rr := &dns.A{Hdr: header("x.", dns.TypeA, 300)}
	m, r := &dns.Msg{Answer: []dns.RR{rr}}, new(dns.Msg)
	markStale(m, r, time.Now())
	if rr.Hdr.Ttl != 300 || m.Answer[0].Header().Ttl != staleTTL || len(m.Extra) != 0 {
		t.Errorf("%v became %v", rr, m)
	}
}

// What distinguishes an index distinguishes its snapshots, and nothing else does.
func TestIdentity(t *testing.T) {
	base := feedConfig{}
	base.kube.Endpoint = "http://127.0.0.1:1"
	id := func(change func(*feedConfig)) string {
		c := base
		change(&c)
		l, err := c.open()
		if err != nil {
			t.Fatal(err)
		}
		return l.identity()
	}
	plain := id(func(*feedConfig) {})
	for name, change := range map[string]func(*feedConfig){
		"server":    func(c *feedConfig) { c.kube.Endpoint = "http://127.0.0.1:2" },
		"pods":      func(c *feedConfig) { c.pods = true },
		"pod names": func(c *feedConfig) { c.podNames = true },
	} {
		if id(change) == plain {
			t.Errorf("another %s, the same identity", name)
		}
	}
	if id(func(c *feedConfig) { c.kube.QPS, c.kube.UserAgent = 7, "me" }) != plain {
		t.Error("how we ask is part of the identity")
	}
}
