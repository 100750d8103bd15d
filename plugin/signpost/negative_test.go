package signpost

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// A negative answer says by both numbers how long it may be kept (RFC 2308 §5);
// everything else keeps its own time.
func TestNegativeTTL(t *testing.T) {
	for _, tt := range []struct {
		name                        string
		ttl                         uint32
		negative                    *uint32
		answer, denial, minimum, at uint32 // TTL of A, of the SOA beside a denial, its minimum, the apex SOA
	}{
		{"as ttl", 30, nil, 30, 30, 30, 30},
		{"shorter", 30, new(uint32(2)), 30, 2, 2, 30},
		{"none", 30, new(uint32(0)), 30, 0, 0, 30},
		{"longer", 5, new(uint32(60)), 5, 60, 60, 5},
		{"longer than a SOA lives", 600, new(uint32(900)), 600, 300, 900, 300},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := plugged(fixture(), func(s *Signpost) { s.ttl, s.negative = tt.ttl, tt.negative })
			if m, _ := ask(t, s, "web.ns.svc.cluster.local.", dns.TypeA); m.Answer[0].Header().Ttl != tt.answer {
				t.Errorf("answer: %v", m)
			}
			for qname, qtype := range map[string]uint16{"gone.ns.svc.cluster.local.": dns.TypeA, "web.ns.svc.cluster.local.": dns.TypeAAAA, "9.9.9.9.in-addr.arpa.": dns.TypePTR} {
				m, _ := ask(t, s, qname, qtype)
				if soa := m.Ns[0].(*dns.SOA); soa.Hdr.Ttl != tt.denial || soa.Minttl != tt.minimum {
					t.Errorf("%s: %v", qname, soa)
				}
			}
			m, _ := ask(t, s, "cluster.local.", dns.TypeSOA)
			if soa := m.Answer[0].(*dns.SOA); soa.Hdr.Ttl != tt.at || soa.Minttl != tt.minimum {
				t.Errorf("apex: %v", soa)
			}
		})
	}
}

// Behind the plugin cache, which keeps names of zones with fallthrough, a new Service is found once its denial has run out, and
// what was found is kept as long as before.
func TestNegativeTTLBehindCache(t *testing.T) {
	dir := t.TempDir()
	i := start(t, fmt.Sprintf(".:0 {\n bind 127.0.0.1\n cache 3600 {\n denial 9984 3600 0\n}\n signpost cluster.local {\n manifests %s\n ttl 3600 negative 1\n fallthrough\n}\n}", dir))
	defer stop(t, i)
	const qname = "web.ns.svc.cluster.local."
	if m := lookup(t, i, "udp", qname); m.Rcode != dns.RcodeNameError {
		t.Fatal(m)
	}
	begin := time.Now()
	writeFile(t, filepath.Join(dir, "web.yaml"), fmt.Sprintf(webManifest, "10.96.0.1"))
	eventually(t, "the new Service", func() bool { return len(lookup(t, i, "udp", qname).Answer) == 1 })
	if waited := time.Since(begin); waited > 10*time.Second {
		t.Errorf("found after %v", waited)
	}
	writeFile(t, filepath.Join(dir, "web.yaml"), fmt.Sprintf(webManifest, "10.96.0.2"))
	time.Sleep(1200 * time.Millisecond)
	if m := lookup(t, i, "udp", qname); len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != "10.96.0.1" {
		t.Errorf("an answer was not kept: %v", m)
	}
}
