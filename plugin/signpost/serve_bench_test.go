package signpost

import (
	"slices"
	"strings"
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

// To find a name allocates nothing, whatever stands there: the packages that render
// messages by themselves rely on it.
func TestFindAllocatesNothing(t *testing.T) {
	extra := []query{
		{name: "fd00-2--b.hdls.ns.svc"}, {name: "fd00--11.ns.pod"}, {name: "172-16-0-1.ns.pod"}, {name: "fd00-1-2-3-4-5-6-7.ns.pod"},
		{name: "_why.web.ns.svc"}, {name: "a.pin._zone.db.ns.svc"}, {name: "z.prefer._zone.db.ns.svc"}, {name: "x.y.z._zone.db.ns.svc"},
		{name: "1.0.16.172.in-addr.arpa."}, {name: "b.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.2.0.0.0.0.0.d.f.ip6.arpa."},
	}
	tight := strings.Repeat("long-label.", 20) + "a."
	for _, stage := range []struct {
		name, zone string
		s          *Signpost
		queries    []query
	}{
		{"cluster", zoneSuffix, plugged(fixture(), nil), queries},
		{"all options", zoneSuffix, plugged(zoned(), func(s *Signpost) {
			s.why, s.zonal, s.pods, s.ptr, s.ignoreEmpty = true, true, podsVerified, ptrHostname, true
		}), slices.Concat(queries, extra)},
		{"pods insecure", zoneSuffix, plugged(fixture(), func(s *Signpost) { s.pods = podsInsecure }), extra},
		{"a long zone", tight, plugged(fixture(), func(s *Signpost) {
			s.zones, s.primary = makeZones([]string{tight, "in-addr.arpa.", "ip6.arpa."})
		}), slices.Concat(queries, extra)},
		{"outside", "example.org.", outsidePlugged(true, nil), outsideQueries},
		{"set of clusters", "clusterset.local.", clustersetPlugged(), slices.Concat(clustersetQueries, extra)},
	} {
		kinds := map[nodeKind]bool{}
		for _, tt := range stage.queries {
			name := tt.name
			if !strings.HasSuffix(name, ".") {
				name += "." + stage.zone
			}
			q := stage.s.newQuestion(name, dns.TypeA)
			if q.zone == nil {
				continue
			}
			kinds[stage.s.find(&q).kind] = true
			if got := testing.AllocsPerRun(10, func() { stage.s.find(&q) }); got != 0 {
				t.Errorf("%s: to find %s makes %v allocations", stage.name, name, got)
			}
		}
		if len(kinds) < 3 {
			t.Errorf("%s: the names are of %d kinds only", stage.name, len(kinds))
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
