package signpost

import (
	"testing"

	"github.com/miekg/dns"
)

// budgets are the allocations that one query may cost inside the plugin.
var budgets = []struct {
	name, qname string
	qtype       uint16
	allocs      float64
}{
	{"A", "web.ns.svc.cluster.local.", dns.TypeA, 2},
	{"NODATA", "web.ns.svc.cluster.local.", dns.TypeAAAA, 1},
	{"NXDOMAIN", "gone.ns.svc.cluster.local.", dns.TypeA, 1},
	{"search list", "www.example.com.ns.svc.cluster.local.", dns.TypeA, 1},
	{"SRV", "_http._tcp.web.ns.svc.cluster.local.", dns.TypeSRV, 5},
	{"endpoint", "172-16-0-2.hdls.ns.svc.cluster.local.", dns.TypeA, 2},
	{"PTR", "1.0.0.10.in-addr.arpa.", dns.TypePTR, 5},
}

func serve(t testing.TB, s *Signpost, qname string, qtype uint16) func() {
	r := new(dns.Msg)
	r.SetQuestion(qname, qtype)
	w := &client{udp: true}
	return func() {
		if _, err := s.ServeDNS(t.Context(), w, r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAllocationBudget(t *testing.T) {
	s := plugged(fixture(), nil)
	for _, b := range budgets {
		if got := testing.AllocsPerRun(100, serve(t, s, b.qname, b.qtype)); got > b.allocs {
			t.Errorf("%s: %v allocations, want at most %v", b.name, got, b.allocs)
		}
	}
}

// A headless Service of thousands costs what one of hundreds does.
func TestLargeHeadlessAllocations(t *testing.T) {
	small := testing.AllocsPerRun(20, serve(t, plugged(crowd(100), nil), "crowd.ns.svc.cluster.local.", dns.TypeA))
	large := testing.AllocsPerRun(20, serve(t, plugged(crowd(5000), nil), "crowd.ns.svc.cluster.local.", dns.TypeA))
	if large > small {
		t.Errorf("%v allocations with 5000 endpoints, %v with 100", large, small)
	}
}

func BenchmarkServeDNS(b *testing.B) {
	s := plugged(fixture(), nil)
	for _, q := range budgets {
		b.Run(q.name, func(b *testing.B) {
			run := serve(b, s, q.qname, q.qtype)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}
