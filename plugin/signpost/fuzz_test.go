package signpost

import (
	"testing"

	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
)

// FuzzServeDNS: whatever a packet asks, nothing panics, at most one answer is
// written, it fits to the question, can be sent, and says NXDOMAIN only where
// nothing exists.
func FuzzServeDNS(f *testing.F) {
	s := plugged(fixture(), func(s *Signpost) { s.pods = podsInsecure })
	for _, q := range queries {
		m := new(dns.Msg)
		name := q.name
		if name[len(name)-1] != '.' {
			name += "." + zoneSuffix
		}
		m.SetQuestion(name, dns.StringToType[q.qtype])
		m.SetEdns0(1232, true)
		wire, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire, true)
	}
	f.Fuzz(func(t *testing.T, packet []byte, udp bool) {
		r := new(dns.Msg)
		if r.Unpack(packet) != nil {
			return
		}
		w := &client{udp: udp}
		rcode, _ := s.ServeDNS(t.Context(), w, r)
		m := w.got
		if m == nil {
			if plugin.ClientWrite(rcode) && len(r.Question) == 1 {
				t.Fatalf("returns %s without an answer to\n%v", dns.RcodeToString[rcode], r)
			}
			return
		}
		if !plugin.ClientWrite(rcode) {
			t.Errorf("returns %s after an answer: the server would write another", dns.RcodeToString[rcode])
		}
		if m.Id != r.Id || !m.Response || len(m.Question) != 1 || m.Question[0] != r.Question[0] {
			t.Errorf("not an answer to\n%v:\n%v", r, m)
		}
		if _, err := m.Pack(); err != nil {
			t.Errorf("cannot be sent: %v\n%v", err, m)
		}
		if m.Rcode == dns.RcodeNameError && len(m.Answer) == 0 && len(m.Ns) != 1 {
			t.Errorf("NXDOMAIN without SOA:\n%v", m)
		}
	})
}
