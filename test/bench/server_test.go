package bench

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/test/api"
	"github.com/signpost-dns/signpost/test/peer"
)

// corefile is what kubeadm writes, on other ports and without the plugins that
// need a machine of their own (health, ready, prometheus's port, loop, reload).
const corefile = `.:%d {
    bind 127.0.0.1
    errors
    %s cluster.local in-addr.arpa ip6.arpa {
       endpoint %s
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus 127.0.0.1:%d
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loadbalance
}
`

// mix is what pods ask: mostly the names that a search list makes, and both
// families each time.
const mix = `web.ns.svc.cluster.local. A
web.ns.svc.cluster.local. AAAA
www.example.com.ns.svc.cluster.local. A
www.example.com.ns.svc.cluster.local. AAAA
www.example.com.svc.cluster.local. A
www.example.com.svc.cluster.local. AAAA
www.example.com.cluster.local. A
www.example.com.cluster.local. AAAA
hdls.ns.svc.cluster.local. A
hundred.ns.svc.cluster.local. A
_http._tcp.web.ns.svc.cluster.local. SRV
1.0.0.10.in-addr.arpa. PTR
`

// BenchmarkServer asks whole servers, the binary that clusters run, over loopback
// by dnsperf. The two Corefiles differ by one word. What counts is the processor
// time of a query: how many fit into a second is up to who else uses the machine.
func BenchmarkServer(b *testing.B) {
	dnsperf, err := exec.LookPath("dnsperf")
	if err != nil {
		b.Skip("no dnsperf: apt-get install dnsperf")
	}
	dir := b.TempDir()
	binary, data := buildCoreDNS(b, dir), filepath.Join(dir, "mix")
	if err := os.WriteFile(data, []byte(mix), 0o600); err != nil {
		b.Fatal(err)
	}
	s := api.New(b)
	s.Put(peer.Cluster()...)
	s.Put(crowd("hundred", 100)...)
	perQuery, perSecond := map[string]float64{}, map[string]float64{}
	for _, plugin := range plugins {
		b.Run("plugin="+plugin, func(b *testing.B) {
			x := startServer(b, binary, filepath.Join(dir, "Corefile-"+plugin), plugin, s.URL)
			before := processTime(b, x.pid)
			out, err := exec.Command(dnsperf, "-s", "127.0.0.1", "-p", strconv.Itoa(x.port), "-d", data, "-l", "5", "-e", "-q", "100").CombinedOutput()
			if err != nil {
				b.Fatalf("dnsperf: %v\n%s", err, out)
			}
			used := processTime(b, x.pid) - before
			perQuery[plugin] = float64(used.Nanoseconds()) / 1e3 / figure(b, out, `Queries completed:\s+(\d+)`)
			perSecond[plugin] = figure(b, out, `Queries per second:\s+([\d.]+)`)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(perQuery[plugin], "cpu-µs/query")
			b.ReportMetric(perSecond[plugin], "queries/s")
		})
	}
	if perQuery[ours] > 0 {
		note(row{"whole server: processor time of a query", "µs", perQuery[ours], perQuery[theirs], 0, 0})
		note(row{"whole server: queries a second on this machine now", "", perSecond[ours], perSecond[theirs], 0, 0})
	}
}

// buildCoreDNS compiles the binary that clusters run.
func buildCoreDNS(b *testing.B, dir string) string {
	b.Helper()
	binary := filepath.Join(dir, "coredns")
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/coredns").CombinedOutput(); err != nil {
		b.Fatalf("building coredns: %v\n%s", err, out)
	}
	return binary
}

// server is a running CoreDNS.
type server struct{ port, pid int }

// startServer starts CoreDNS with a plugin on an API, by a Corefile that it writes, and waits until it answers. It ends
// with the benchmark.
func startServer(b *testing.B, binary, corefilePath, plugin, url string, env ...string) server {
	b.Helper()
	port := freePort(b)
	if err := os.WriteFile(corefilePath, fmt.Appendf(nil, corefile, port, plugin, url, freePort(b)), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(binary, "-conf", corefilePath)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	untilServed(b, port)
	return server{port, cmd.Process.Pid}
}

func figure(b *testing.B, out []byte, pattern string) float64 {
	b.Helper()
	m := regexp.MustCompile(pattern).FindSubmatch(out)
	if m == nil {
		b.Fatalf("dnsperf does not tell %s:\n%s", pattern, out)
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return v
}

// processTime reads what a process used of the processors so far (proc_pid_stat(5):
// utime and stime, in ticks of a hundredth of a second).
func processTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

func freePort(b *testing.B) int {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func untilServed(b *testing.B, port int) {
	b.Helper()
	r := new(dns.Msg)
	r.SetQuestion("hundred.ns.svc.cluster.local.", dns.TypeA)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		m, err := dns.Exchange(r, fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil && len(m.Answer) > 0 {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("the server does not serve: %v %v", m, err)
		}
	}
}
