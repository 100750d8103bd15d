package signpost

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coredns/caddy"
	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/test/api"
)

// usage is what reloads must not add to.
type usage struct {
	goroutines, files int
	heap              uint64
}

// more reports whether there is more than before, by what a dozen reloads would add:
// connections come and go, and what a server of a reload that failed held is closed
// when its memory is collected.
func (u usage) more(before usage) bool {
	return u.goroutines > before.goroutines+4 || u.files > before.files+4
}

func measure(t *testing.T) usage {
	t.Helper()
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("counting open files: %v", err)
	}
	return usage{runtime.NumGoroutine(), len(files), m.HeapAlloc}
}

// block is a server block with neighbours that have a life of their own.
func block(port int, url, options string) string {
	return fmt.Sprintf(`.:%d {
 bind 127.0.0.1
 metadata
 transfer {
  to *
 }
 cache
 loadbalance
 signpost cluster.local in-addr.arpa {
  endpoint %s
  %s
 }
}`, port, url, options)
}

// Many reloads leave no goroutine, file or memory behind, whether the new
// configuration takes the index over, needs another one, or fails.
func TestManyReloads(t *testing.T) {
	s := api.New(t)
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for n := range 2000 {
		s.Put(apiService(fmt.Sprintf("web-%d", n), fmt.Sprintf("10.96.%d.%d", n/250, n%250+1)))
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := freePort(t)
	i := start(t, block(port, s.URL, "ttl 5"))
	reload := func(corefile string) error {
		serves(t, i)
		next, err := i.Restart(input(corefile))
		if err == nil {
			i = next
		}
		if m := exchange(t, i, 0, question1("web-7.ns.svc.cluster.local.", dns.TypeA)); len(m.Answer) != 1 {
			t.Fatalf("after a reload: %v", m)
		}
		return err
	}
	for _, c := range []struct {
		name     string
		corefile func(n int) string
		fails    bool
		lists    bool // each reload asks the API for everything again
	}{
		{"the same source", func(n int) string { return block(port, s.URL, fmt.Sprint("ttl ", n)) }, false, false},
		{"another source each time", func(n int) string {
			return block(port, s.URL, []string{"endpoint_pod_names", "pods verified"}[n%2])
		}, false, true},
		{"a port that is taken", func(n int) string {
			other := strings.Replace(block(port, s.URL, "pods verified\n endpoint_pod_names"), fmt.Sprint(port), fmt.Sprint(taken.Addr().(*net.TCPAddr).Port), 1)
			return block(port, s.URL, "endpoint_pod_names\n pods verified") + "\n" + other
		}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			const warm, rounds = 3, 12
			var before usage
			requests := 0
			for n := range warm + rounds {
				if n == warm {
					before, requests = settled(t, usage{}), len(s.Requests())
				}
				if err := reload(c.corefile(n)); (err != nil) != c.fails {
					t.Fatalf("reload %d: %v", n, err)
				}
				if feeds := feedCount(); feeds != 1 {
					t.Fatalf("%d feeds after reload %d", feeds, n)
				}
			}
			after := settled(t, before)
			t.Logf("before %d reloads %+v, after %+v", rounds, before, after)
			if after.more(before) {
				t.Errorf("%+v before %d reloads, %+v after", before, rounds, after)
			}
			// An index of 2000 Services takes 0.8 MB: one that stayed of each reload would show.
			if after.heap > before.heap+2<<20 {
				t.Errorf("the heap grew from %d to %d bytes in %d reloads", before.heap, after.heap, rounds)
			}
			if listed := len(s.Requests()) > requests; listed != c.lists {
				t.Errorf("asked the API again: %v, want %v", listed, c.lists)
			}
		})
	}
	stop(t, i)
}

// settled measures once what ends by itself has ended: connections and servers that
// close, or a usage no higher than before.
func settled(t *testing.T, before usage) usage {
	t.Helper()
	now := measure(t)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
		next := measure(t)
		still := next.goroutines == now.goroutines && next.files == now.files
		if now = next; still && (before == usage{} || !now.more(before)) {
			break
		}
	}
	return now
}

// The plugin reload, with a Corefile that changes under a server that is asked all
// the time: no query is lost or answered wrongly.
func TestReloadPlugin(t *testing.T) {
	s := api.New(t)
	s.Put(apiService("web", "10.0.0.1"))
	port := freePort(t)
	path := filepath.Join(t.TempDir(), "Corefile")
	text := func(ttl int) string {
		return strings.Replace(block(port, s.URL, fmt.Sprint("ttl ", ttl)), " cache\n", " reload 2s 1s\n", 1)
	}
	writeFile(t, path, text(5))
	load := func(string) (caddy.Input, error) {
		data, err := os.ReadFile(path)
		return caddy.CaddyfileInput{Contents: data, Filepath: path, ServerTypeName: "dns"}, err
	}
	caddy.SetDefaultCaddyfileLoader("test", caddy.LoaderFunc(load)) // that of an earlier run goes
	content, err := load("dns")
	if err != nil {
		t.Fatal(err)
	}
	caddy.Quiet = true
	i, err := caddy.Start(content)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	ask := func() *dns.Msg {
		m, _, err := (&dns.Client{Timeout: 10 * time.Second}).Exchange(question1("web.ns.svc.cluster.local.", dns.TypeA), addr)
		if err != nil || len(m.Answer) != 1 {
			t.Fatalf("while reloading: %v %v", m, err)
		}
		return m
	}
	ask()
	writeFile(t, path, text(77))
	eventually(t, "the new ttl", func() bool { return ask().Answer[0].Header().Ttl == 77 })
	if n := feedCount(); n != 1 {
		t.Errorf("%d feeds", n)
	}
	for _, running := range caddy.Instances() {
		if running != i {
			i = running
		}
	}
	stop(t, i)
}
