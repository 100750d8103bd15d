package signpost

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func TestNotSyncedIsServfail(t *testing.T) {
	store := cluster.NewStore()
	store.Put(1, service("ns", "web", nil, "10.0.0.1"))
	s := plugged(store, func(s *Signpost) {
		s.fall.SetZonesFromArgs(nil)
		s.next = test.NextHandler(dns.RcodeSuccess, nil)
	})
	for _, name := range []string{"web.ns.svc.cluster.local.", "gone.ns.svc.cluster.local.", "cluster.local.", "1.0.0.10.in-addr.arpa."} {
		if m, rcode := ask(t, s, name, dns.TypeA); m != nil || rcode != dns.RcodeServerFailure {
			t.Errorf("%s: rcode %d, message %v; want SERVFAIL left to the server", name, rcode, m)
		}
	}
	if s.Ready() {
		t.Error("ready before the first sync")
	}
	if new(Signpost).Ready() { // the plugin ready may ask before the start is over
		t.Error("ready before the start")
	}
	store.MarkSynced()
	if _, rcode := ask(t, s, "web.ns.svc.cluster.local.", dns.TypeA); rcode != dns.RcodeSuccess || !s.Ready() {
		t.Errorf("after the sync: rcode %d, ready %v", rcode, s.Ready())
	}
}

func TestFallthrough(t *testing.T) {
	const passed = dns.RcodeYXDomain // what the next plugin returns
	next := test.NextHandler(passed, nil)
	tests := []struct {
		name  string
		zones []string // nil: the option is not there
		next  plugin.Handler
		qname string
		rcode int
	}{
		{"missing, no option", nil, next, "gone.ns.svc.cluster.local.", dns.RcodeNameError},
		{"missing, all zones", []string{}, next, "gone.ns.svc.cluster.local.", passed},
		{"missing, other zone", []string{"in-addr.arpa"}, next, "gone.ns.svc.cluster.local.", dns.RcodeNameError},
		{"missing reverse, its zone", []string{"in-addr.arpa"}, next, "9.9.9.9.in-addr.arpa.", passed},
		{"no data", []string{}, next, "ns.svc.cluster.local.", dns.RcodeSuccess},
		{"found", []string{}, next, "web.ns.svc.cluster.local.", dns.RcodeSuccess},
		{"missing, nobody next", []string{}, nil, "gone.ns.svc.cluster.local.", dns.RcodeNameError},
		{"other zone than ours", nil, next, "example.org.", passed},
		{"label that ends like our zone", nil, next, `x\.cluster.local.`, passed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := plugged(fixture(), func(s *Signpost) {
				s.next = tt.next
				if tt.zones != nil {
					s.fall.SetZonesFromArgs(tt.zones)
				}
			})
			if _, rcode := ask(t, s, tt.qname, dns.TypeA); rcode != tt.rcode {
				t.Errorf("rcode %d, want %d", rcode, tt.rcode)
			}
		})
	}
}

func TestExternalNameRcode(t *testing.T) {
	tests := []struct {
		name, qname string
		upstream    map[string]int
		rcode       int
		records     int
	}{
		{"target found", "ext", map[string]int{"www.example.net.": dns.RcodeSuccess}, dns.RcodeSuccess, 2},
		{"target missing", "ext", map[string]int{"www.example.net.": dns.RcodeNameError}, dns.RcodeNameError, 1}, // D6
		{"upstream broken", "ext", map[string]int{"www.example.net.": dns.RcodeServerFailure}, dns.RcodeServerFailure, 1},
		{"upstream refuses", "ext", map[string]int{"www.example.net.": dns.RcodeRefused}, dns.RcodeSuccess, 1},
		{"no upstream", "ext", nil, dns.RcodeSuccess, 1},
		{"in our zone, missing", "extgone", nil, dns.RcodeNameError, 1}, // D8
		{"to itself", "extloop", nil, dns.RcodeServerFailure, 1},
		{"loop of two", "exta", nil, dns.RcodeServerFailure, 2},
		{"chain that ends", "ext2", map[string]int{"www.example.net.": dns.RcodeSuccess}, dns.RcodeSuccess, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := plugged(fixture(), func(s *Signpost) { s.upstream = reenter(s, tt.upstream) })
			m, rcode := ask(t, s, tt.qname+".ns.svc.cluster.local.", dns.TypeA)
			if !plugin.ClientWrite(rcode) { // the server would write an answer of its own after ours
				t.Errorf("returns %d although it has written", rcode)
			}
			if m.Rcode != tt.rcode || len(m.Answer) != tt.records {
				t.Errorf("rcode %d with %d records, want %d with %d:\n%v", m.Rcode, len(m.Answer), tt.rcode, tt.records, m)
			}
			if m.Authoritative == (m.Rcode == dns.RcodeServerFailure) { // D17
				t.Errorf("aa %v with rcode %d", m.Authoritative, m.Rcode)
			}
		})
	}
}

// crowd is a headless Service of n endpoints.
func crowd(n int) *cluster.Store {
	store := cluster.NewStore()
	store.Put(1, service("ns", "crowd", nil))
	for first := 0; first < n; first += 100 {
		var eps []cluster.Endpoint
		for i := first; i < min(n, first+100); i++ {
			eps = append(eps, ready(fmt.Sprintf("172.17.%d.%d", i/250, i%250), ""))
		}
		store.Put(1, slice("ns", "crowd", fmt.Sprintf("crowd-%d", first), http8080, eps...))
	}
	store.MarkSynced()
	return store
}

// client is a response writer with a transport, which scrubs as the server does.
type client struct {
	test.ResponseWriter
	udp bool
	got *dns.Msg
}

func (c *client) WriteMsg(m *dns.Msg) error { c.got = m; return nil }

var (
	udpClient net.Addr = &net.UDPAddr{IP: net.IPv4(10, 240, 0, 1), Port: 40212}
	tcpClient net.Addr = &net.TCPAddr{IP: net.IPv4(10, 240, 0, 1), Port: 40212}
)

func (c *client) RemoteAddr() net.Addr {
	if c.udp {
		return udpClient
	}
	return tcpClient
}

func TestLargeHeadless(t *testing.T) {
	s := plugged(crowd(1000), nil)
	tests := []struct {
		name    string
		qname   string
		qtype   uint16
		udp     bool
		edns    uint16
		partial bool
		most    int // records made
	}{
		{"A over TCP", "crowd.ns.svc.cluster.local.", dns.TypeA, false, 0, false, 1000},
		{"A over UDP", "crowd.ns.svc.cluster.local.", dns.TypeA, true, 0, true, 512 / addressSize},
		{"A over UDP, EDNS", "crowd.ns.svc.cluster.local.", dns.TypeA, true, 1232, true, 1232 / addressSize},
		{"A over UDP, tiny EDNS", "crowd.ns.svc.cluster.local.", dns.TypeA, true, 100, true, 512 / addressSize},
		{"SRV over TCP", "_http._tcp.crowd.ns.svc.cluster.local.", dns.TypeSRV, false, 0, false, 1000},
		{"SRV over UDP, EDNS", "_http._tcp.crowd.ns.svc.cluster.local.", dns.TypeSRV, true, 1232, true, 1232 / (srvSize + len(".crowd.ns.svc.cluster.local."))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := new(dns.Msg)
			r.SetQuestion(tt.qname, tt.qtype)
			if tt.edns > 0 {
				r.SetEdns0(tt.edns, false)
			}
			w := &client{udp: tt.udp}
			if _, err := s.ServeDNS(t.Context(), w, r); err != nil {
				t.Fatal(err)
			}
			if len(w.got.Answer) != tt.most || w.got.Truncated != tt.partial {
				t.Errorf("%d records, tc %v; want %d, %v", len(w.got.Answer), w.got.Truncated, tt.most, tt.partial)
			}
			distinct := texts(w.got.Answer)
			if len(slices.Compact(distinct)) != tt.most {
				t.Error("a record stands twice")
			}
			// The bound must not be too low: what is made fills the message.
			w.got.Compress = true
			limit := max(dns.MinMsgSize, int(tt.edns))
			if size := w.got.Len(); tt.partial && size < limit*3/4 && len(w.got.Extra) == 0 {
				t.Errorf("%d of %d bytes used", size, limit)
			}
		})
	}
}

// Over many small answers every endpoint has its turn.
func TestLargeHeadlessTurns(t *testing.T) {
	s := plugged(crowd(300), nil)
	seen := map[string]bool{}
	for range 2000 {
		r := new(dns.Msg)
		r.SetQuestion("crowd.ns.svc.cluster.local.", dns.TypeA)
		w := &client{udp: true}
		if _, err := s.ServeDNS(t.Context(), w, r); err != nil {
			t.Fatal(err)
		}
		for _, rr := range w.got.Answer {
			seen[rr.String()] = true
		}
	}
	if len(seen) != 300 {
		t.Errorf("%d of 300 endpoints seen", len(seen))
	}
}

// What other plugins do to an answer must not reach the index or the next answer.
func TestAnswersAreTheirOwn(t *testing.T) {
	s := plugged(fixture(), nil)
	for _, q := range queries {
		name := q.name
		if name[len(name)-1] != '.' {
			name += "." + zoneSuffix
		}
		first, _ := ask(t, s, name, dns.StringToType[q.qtype])
		before := first.String()
		for _, section := range [][]dns.RR{first.Answer, first.Ns, first.Extra} {
			if cap(section) > len(section) {
				t.Errorf("%s: a section has room to be appended to in place", name)
			}
			for _, rr := range section {
				rr.Header().Name, rr.Header().Ttl = "changed.", 99999
				if a, ok := rr.(*dns.A); ok {
					a.A[0] = 255
				}
			}
		}
		second, _ := ask(t, s, name, dns.StringToType[q.qtype])
		second.Id = first.Id
		if after := second.String(); len(after) != len(before) {
			t.Errorf("%s: changed from\n%s\nto\n%s", name, before, after)
		}
		check(t, s, q)
	}
}

func TestServeRefusesTransfers(t *testing.T) {
	s := plugged(fixture(), nil)
	for _, qtype := range []uint16{dns.TypeAXFR, dns.TypeIXFR} {
		if m, rcode := ask(t, s, "cluster.local.", qtype); m != nil || rcode != dns.RcodeRefused {
			t.Errorf("%s: rcode %d, message %v", dns.TypeToString[qtype], rcode, m)
		}
	}
}

func TestOddMessages(t *testing.T) {
	s := plugged(fixture(), nil)
	for name, r := range map[string]*dns.Msg{
		"no question":   {},
		"two questions": {Question: []dns.Question{{Name: "a.", Qtype: 1, Qclass: 1}, {Name: "b.", Qtype: 1, Qclass: 1}}},
	} {
		rec := dnstest.NewRecorder(&test.ResponseWriter{})
		if rcode, err := s.ServeDNS(context.Background(), rec, r); rcode != dns.RcodeFormatError || err != nil {
			t.Errorf("%s: rcode %d, %v", name, rcode, err)
		}
	}
}
