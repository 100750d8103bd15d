package bench

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/signpost-dns/signpost/test/api"
	"github.com/signpost-dns/signpost/test/peer"
)

var greedyFlag = flag.String("greedy", "100,300,1000", "how many greedy connections BenchmarkGreedy opens, each number by itself")

const (
	// memoryLimit is that of the manifest. Both servers get it as GOMEMLIMIT.
	memoryLimit = 170 << 20
	// wideEndpoints and widePorts make the answer of the greedy clients: each port of each endpoint is a record.
	wideEndpoints, widePorts = 5_000, 5
	greedyQueries            = 30 // of a connection, sent at once
	honestTime               = 10 * time.Second
	honestTimeout            = 5 * time.Second // as that of a resolver
)

// wide is a headless Service of so many endpoints and ports.
func wide() []k8sruntime.Object {
	s := peer.Service("ns", "wide", nil, "None")
	var ports []discoveryv1.EndpointPort
	for i := range int32(widePorts) {
		name := fmt.Sprintf("p%d", i)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: name, Port: 80 + i, Protocol: corev1.ProtocolTCP})
		ports = append(ports, discoveryv1.EndpointPort{Name: ptr.To(name), Port: ptr.To(8080 + i), Protocol: ptr.To(corev1.ProtocolTCP)})
	}
	objects := endpointSlices("wide", 0, wideEndpoints, 100)
	for _, o := range objects {
		o.(*discoveryv1.EndpointSlice).Ports = ports
	}
	return append(objects, s)
}

// BenchmarkGreedy lets clients ask over TCP for SRV records of a wide Service, many times at once, and read no answer. It
// measures what the server holds for them, and how long an honest client waits meanwhile. All clients have one address,
// or each its own.
func BenchmarkGreedy(b *testing.B) {
	dir := b.TempDir()
	binary := buildCoreDNS(b, dir)
	s := api.New(b)
	s.Put(peer.Cluster()...)
	s.Put(crowd("hundred", 100)...)
	s.Put(wide()...)
	for text := range strings.SplitSeq(*greedyFlag, ",") {
		clients, err := strconv.Atoi(text)
		if err != nil || clients < 1 {
			b.Fatalf("-greedy %s: expected numbers with commas", *greedyFlag)
		}
		for _, addresses := range []int{1, clients} {
			results := map[string]greedyResult{}
			for _, plugin := range plugins {
				b.Run(fmt.Sprintf("connections=%d/addresses=%d/plugin=%s", clients, addresses, plugin), func(b *testing.B) {
					path := filepath.Join(dir, "Corefile-greedy-"+plugin)
					x := startServer(b, binary, path, plugin, s.URL, fmt.Sprint("GOMEMLIMIT=", memoryLimit))
					results[plugin] = measureGreedy(b, x, clients, addresses)
				})
			}
			o, p := results[ours], results[theirs]
			if o.peak == 0 {
				continue
			}
			what := fmt.Sprintf("greedy connections: %d, addresses: %d: ", clients, addresses)
			note(row{what + "peak resident", "MiB", o.peak, p.peak, memoryLimit >> 20, 0})
			note(row{what + "slowest honest query over UDP", "ms", o.udp.most(), p.udp.most(), 0, 0})
			note(row{what + "slowest honest query over TCP", "ms", o.tcp.most(), p.tcp.most(), 0, 0})
		}
	}
}

// greedyResult is what one server did: the most memory in MiB, and how long honest queries took.
type greedyResult struct {
	peak     float64
	udp, tcp waits
}

// waits are times in milliseconds, sorted. A query without an answer counts with its timeout.
type waits []float64

func (w waits) most() float64 { return w[len(w)-1] }

func measureGreedy(b *testing.B, x server, clients, addresses int) (r greedyResult) {
	idle := residentMiB(b, x.pid, "VmRSS")
	to := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(x.port))
	for i := range clients {
		n := i % addresses
		from := netip.AddrFrom4([4]byte{127, 1, byte(n / 250), byte(1 + n%250)})
		beGreedy(b, from, to)
	}
	failed := 0
	for end := time.Now().Add(honestTime); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for network, all := range map[string]*waits{"udp": &r.udp, "tcp": &r.tcp} {
			took, err := askHonestly(network, to)
			if err != nil {
				failed++
			}
			*all = append(*all, took)
		}
	}
	slices.Sort(r.udp)
	slices.Sort(r.tcp)
	r.peak = residentMiB(b, x.pid, "VmHWM")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(idle, "idle-MiB")
	b.ReportMetric(r.peak, "peak-MiB")
	b.ReportMetric(float64(failed), "honest-failed")
	for network, all := range map[string]waits{"udp": r.udp, "tcp": r.tcp} {
		b.ReportMetric(all[len(all)/2], network+"-p50-ms")
		b.ReportMetric(all.most(), network+"-most-ms")
	}
	return r
}

// beGreedy opens a connection that is not read from until the benchmark ends, and asks.
func beGreedy(b *testing.B, from netip.Addr, to netip.AddrPort) {
	b.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}, Timeout: time.Minute}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil { // so that answers wait in the server
		b.Fatal(err)
	}
	query, err := new(dns.Msg).SetQuestion("wide.ns.svc.cluster.local.", dns.TypeSRV).Pack()
	if err != nil {
		b.Fatal(err)
	}
	var all []byte
	for range greedyQueries {
		all = append(binary.BigEndian.AppendUint16(all, uint16(len(query))), query...)
	}
	// The server may already have ended it for being greedy.
	_, _ = c.Write(all)
}

// askHonestly asks once for one record, and returns how long that took in milliseconds.
func askHonestly(network string, to netip.AddrPort) (float64, error) {
	c := dns.Client{Net: network, Timeout: honestTimeout}
	begin := time.Now()
	m, _, err := c.Exchange(new(dns.Msg).SetQuestion("web.ns.svc.cluster.local.", dns.TypeA), to.String())
	took := time.Since(begin)
	if err == nil && len(m.Answer) != 1 {
		err = fmt.Errorf("%d records: %s", len(m.Answer), dns.RcodeToString[m.Rcode])
	}
	if err != nil {
		took = max(took, honestTimeout)
	}
	return float64(took.Microseconds()) / 1000, err
}

// residentMiB reads a field of /proc/PID/status.
func residentMiB(b *testing.B, pid int, field string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	return float64(statusField(string(text), field)) / (1 << 20)
}
