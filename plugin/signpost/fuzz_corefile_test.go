package signpost

import (
	"slices"
	"strings"
	"testing"

	"github.com/coredns/caddy"
	"github.com/miekg/dns"
)

// FuzzCorefile: whatever stands between the braces, and behind the plugin's name, the
// server does not start and says why in words, or it answers by valid settings.
func FuzzCorefile(f *testing.F) {
	for _, tt := range optionTests {
		f.Add("cluster.local", tt.block)
	}
	f.Add("cluster.local in-addr.arpa 10.0.0.0/17 fd00::/64", "external example.org 192.0.2.0/24\napex ns\nheadless")
	f.Add(".", "multicluster .\nzonal\npods insecure\nfallthrough .")
	f.Add("a..b \"c d\" {", "}\n{ ttl 5\n}\nsignpost")
	store := fixture()
	f.Fuzz(func(t *testing.T, zones, block string) {
		c := caddy.NewTestController("dns", "signpost "+zones+" {\n"+block+"\n}")
		c.ServerBlockKeys = []string{"example.org"}
		st, err := parse(c)
		if err != nil {
			if len(strings.TrimSpace(err.Error())) < 10 || st != nil {
				t.Errorf("error %q with %+v", err, st)
			}
			return
		}
		if st == nil {
			return // nothing of it is ours
		}
		if st.ttl > 3600 || st.negative != nil && *st.negative > 3600 || st.outside.ttl > 3600 {
			t.Errorf("a ttl out of its range: %+v", st.settings)
		}
		if f := st.feed; f.maxInFlight < 0 || f.namespaces != "" && f.namespaceLabels != "" {
			t.Errorf("a feed that cannot be: %+v", f)
		}
		all, primary := makeZones(st.zones)
		markClusterset(all, st.clusterset)
		s := &Signpost{settings: st.settings, zones: addOutside(all, &st.outside), primary: primary, store: store}
		s.started.Store(true)
		s.upstream = reenter(s, nil)
		for _, z := range slices.Concat(st.zones, st.outside.zones) {
			for _, relative := range []string{"", "web.ns.svc.", "web.ns.", "_http._tcp.web.ns.svc.", "1-2-3-4.ns.pod.", "1.0.0.10.", "_why.web.ns.svc.", "ns1.dns."} {
				name := relative + strings.TrimPrefix(z, ".")
				if _, valid := dns.IsDomainName(name); !valid || name == "" || len(name) > 250 {
					continue
				}
				for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeSOA, dns.TypeNS, dns.TypePTR, dns.TypeTXT} {
					m, _ := ask(t, s, name, qtype)
					if m == nil {
						continue // fell through: there is no next plugin here
					}
					if _, err := m.Pack(); err != nil {
						t.Errorf("%s %s cannot be sent: %v\n%v", name, dns.TypeToString[qtype], err, m)
					}
				}
			}
		}
	})
}
