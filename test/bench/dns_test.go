// Package bench measures Signpost beside what it replaces, in one run on one
// machine: ratios mean something, absolute times of shared machines do not. It
// ends with a table of both and of the goals. It must not assert timings. Run it with
//
//	go test -run '^$' -bench . -timeout 30m ./test/bench
package bench

import (
	"net"
	"runtime"
	"testing"

	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/test/api"
	"github.com/signpost-dns/signpost/test/peer"
)

// queries are what clusters ask most, and what costs most.
var queries = []struct {
	name, qname string
	qtype       uint16
	allocs      float64 // goal: at most
	ratio       float64 // goal: times faster, at least
}{
	{"A", "web.ns.svc.cluster.local.", dns.TypeA, 6, 6},
	{"NODATA", "web.ns.svc.cluster.local.", dns.TypeAAAA, 0, 0},
	{"NXDOMAIN", "gone.ns.svc.cluster.local.", dns.TypeA, 0, 0},
	{"NXDOMAIN-search-list", "www.example.com.ns.svc.cluster.local.", dns.TypeA, 6, 6},
	{"SRV", "_http._tcp.web.ns.svc.cluster.local.", dns.TypeSRV, 0, 5},
	{"PTR", "1.0.0.10.in-addr.arpa.", dns.TypePTR, 0, 0},
	{"headless-3", "hdls.ns.svc.cluster.local.", dns.TypeA, 0, 0},
	{"headless-100", "hundred.ns.svc.cluster.local.", dns.TypeA, 0, 10},
	{"headless-1000", "thousand.ns.svc.cluster.local.", dns.TypeA, 0, 10},
	{"headless-1000-SRV", "_http._tcp.thousand.ns.svc.cluster.local.", dns.TypeSRV, 0, 10},
}

// writer is a UDP client that throws answers away.
type writer struct{ test.ResponseWriter }

var client net.Addr = &net.UDPAddr{IP: net.IPv4(10, 240, 0, 1), Port: 40212}

func (*writer) RemoteAddr() net.Addr      { return client }
func (*writer) WriteMsg(_ *dns.Msg) error { return nil }

// BenchmarkServeDNS is one query through the plugin alone, over UDP with 1232
// bytes. The ratio is that of processor times, garbage collection included.
func BenchmarkServeDNS(b *testing.B) {
	s := api.New(b)
	s.Put(peer.Cluster()...)
	s.Put(crowd("hundred", 100)...)
	s.Put(crowd("thousand", 1000)...)
	sides := map[string]peer.Side{}
	for _, plugin := range plugins {
		sides[plugin] = peer.Start(b, plugin, s.URL, "", "")
	}
	for _, q := range queries {
		cost, allocs := map[string]float64{}, map[string]float64{}
		for _, plugin := range plugins {
			b.Run(q.name+"/plugin="+plugin, func(b *testing.B) {
				r := new(dns.Msg)
				r.SetQuestion(q.qname, q.qtype)
				r.SetEdns0(1232, false)
				ask := func() {
					if _, err := sides[plugin].Handler.ServeDNS(b.Context(), &writer{}, r); err != nil {
						b.Fatal(err)
					}
				}
				allocs[plugin] = testing.AllocsPerRun(10, ask)
				runtime.GC()
				b.ReportAllocs()
				begin := cpu()
				for b.Loop() {
					ask()
				}
				cost[plugin] = float64(cpu()-begin) / float64(b.N)
				b.ReportMetric(cost[plugin], "cpu-ns/op")
				if plugin == ours && cost[theirs] > 0 {
					b.ReportMetric(cost[theirs]/cost[ours], "times-faster")
				}
			})
		}
		if cost[ours] > 0 {
			note(row{q.name, "CPU ns", cost[ours], cost[theirs], 0, q.ratio})
			note(row{q.name, "allocations", allocs[ours], allocs[theirs], q.allocs, 0})
		}
	}
}
