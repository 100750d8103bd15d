package signpost

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/miekg/dns"
)

// want is an expected message in short: NODATA and NXDOMAIN carry one SOA record,
// everything else none.
type want struct {
	rcode         string
	answer, extra []string
}

func noData() want   { return want{rcode: "NODATA"} }
func nxDomain() want { return want{rcode: "NXDOMAIN"} }
func records(rrs ...string) want {
	return want{rcode: "NOERROR", answer: rrs}
}
func (w want) with(extra ...string) want { w.extra = extra; return w }

const zoneSuffix = "cluster.local."

type query struct {
	name, qtype string
	want        want
}

// queries are names below cluster.local. unless they end in a dot. D numbers are
// the deviations of the in-tree plugin that a strict server must not have.
var queries = []query{
	// A Service with its own address.
	{"web.ns.svc", "A", records("web.ns.svc.cluster.local. 5 IN A 10.0.0.1")},
	{"web.ns.svc", "AAAA", noData()},
	{"web.ns.svc", "TXT", noData()},
	{"web.ns.svc", "HTTPS", noData()},
	{"web.ns.svc", "SOA", noData()},
	{"web.ns.svc", "CNAME", noData()},
	{"web.ns.svc", "ANY", records("web.ns.svc.cluster.local. 5 IN A 10.0.0.1")},
	{"web.ns.svc", "SRV", records("web.ns.svc.cluster.local. 5 IN SRV 0 100 80 web.ns.svc.cluster.local.").
		with("web.ns.svc.cluster.local. 5 IN A 10.0.0.1")},
	{"WeB.Ns.SVC.Cluster.LOCAL.", "A", records("WeB.Ns.SVC.Cluster.LOCAL. 5 IN A 10.0.0.1")},
	{"six.ns.svc", "AAAA", records("six.ns.svc.cluster.local. 5 IN AAAA fd00:1::1")},
	{"six.ns.svc", "A", noData()},
	{"six.ns.svc", "ANY", records("six.ns.svc.cluster.local. 5 IN AAAA fd00:1::1")},
	{"dual.ns.svc", "A", records("dual.ns.svc.cluster.local. 5 IN A 10.0.0.2")},
	{"dual.ns.svc", "AAAA", records("dual.ns.svc.cluster.local. 5 IN AAAA fd00:1::2")},
	{"noports.ns.svc", "A", records("noports.ns.svc.cluster.local. 5 IN A 10.0.0.5")},
	{"noports.ns.svc", "SRV", noData()},
	{"pending.ns.svc", "A", nxDomain()},
	{"gone.ns.svc", "A", nxDomain()},
	{"gone.ns.svc", "SOA", nxDomain()}, // D5
	{"web.gone.svc", "A", nxDomain()},

	// Ports.
	{"_http._tcp.web.ns.svc", "SRV", records("_http._tcp.web.ns.svc.cluster.local. 5 IN SRV 0 100 80 web.ns.svc.cluster.local.").
		with("web.ns.svc.cluster.local. 5 IN A 10.0.0.1")},
	{"_http._tcp.web.ns.svc", "A", noData()},     // D1
	{"http.tcp.web.ns.svc", "SRV", nxDomain()},   // D2
	{"_._.web.ns.svc", "SRV", nxDomain()},        // D3
	{"_._tcp.unnamed.ns.svc", "SRV", nxDomain()}, // D3
	{"_tcp.unnamed.ns.svc", "SRV", nxDomain()},
	{"_tcp.web.ns.svc", "SRV", noData()}, // D4
	{"_udp.web.ns.svc", "SRV", nxDomain()},
	{"_sctp.web.ns.svc", "SRV", nxDomain()},
	{"_icmp.web.ns.svc", "SRV", nxDomain()},
	{"_http._udp.web.ns.svc", "SRV", nxDomain()},
	{"_https._tcp.web.ns.svc", "SRV", nxDomain()},
	{"x._http._tcp.web.ns.svc", "SRV", nxDomain()},
	{"two.ns.svc", "SRV", records(
		"two.ns.svc.cluster.local. 5 IN SRV 0 100 53 two.ns.svc.cluster.local.", // 53/UDP and 53/TCP
	).with("two.ns.svc.cluster.local. 5 IN A 10.0.0.3")},
	{"_dns._udp.two.ns.svc", "SRV", records("_dns._udp.two.ns.svc.cluster.local. 5 IN SRV 0 100 53 two.ns.svc.cluster.local.").
		with("two.ns.svc.cluster.local. 5 IN A 10.0.0.3")},

	// Endpoints of a Service with its own address have names too, as with the peer.
	{"172-16-0-1.web.ns.svc", "A", records("172-16-0-1.web.ns.svc.cluster.local. 5 IN A 172.16.0.1")},
	{"172-16-0-9.web.ns.svc", "A", nxDomain()},
	{"172-16-0-77.web.ns.svc", "A", nxDomain()},
	{"a.b.c.web.ns.svc", "A", nxDomain()},

	// Headless.
	{"hdls.ns.svc", "A", records("hdls.ns.svc.cluster.local. 5 IN A 172.16.0.2", "hdls.ns.svc.cluster.local. 5 IN A 172.16.0.3")},
	{"hdls.ns.svc", "AAAA", records("hdls.ns.svc.cluster.local. 5 IN AAAA fd00:2::b")},
	{"hdls.ns.svc", "TXT", noData()},
	{"_tcp.hdls.ns.svc", "A", noData()},
	{"_http._tcp.hdls.ns.svc", "A", noData()}, // D1
	{"_http._tcp.hdls.ns.svc", "SRV", records(
		"_http._tcp.hdls.ns.svc.cluster.local. 5 IN SRV 0 33 8080 172-16-0-2.hdls.ns.svc.cluster.local.",
		"_http._tcp.hdls.ns.svc.cluster.local. 5 IN SRV 0 33 8080 fd00-2--b.hdls.ns.svc.cluster.local.",
		"_http._tcp.hdls.ns.svc.cluster.local. 5 IN SRV 0 33 8080 host3.hdls.ns.svc.cluster.local.",
	).with(
		"172-16-0-2.hdls.ns.svc.cluster.local. 5 IN A 172.16.0.2",
		"fd00-2--b.hdls.ns.svc.cluster.local. 5 IN AAAA fd00:2::b",
		"host3.hdls.ns.svc.cluster.local. 5 IN A 172.16.0.3",
	)},
	{"host3.hdls.ns.svc", "A", records("host3.hdls.ns.svc.cluster.local. 5 IN A 172.16.0.3")},
	{"HOST3.hdls.ns.svc", "A", records("HOST3.hdls.ns.svc.cluster.local. 5 IN A 172.16.0.3")},
	{"host3.hdls.ns.svc", "AAAA", noData()},
	{"host3.hdls.ns.svc", "SRV", records("host3.hdls.ns.svc.cluster.local. 5 IN SRV 0 100 8080 host3.hdls.ns.svc.cluster.local.").
		with("host3.hdls.ns.svc.cluster.local. 5 IN A 172.16.0.3")},
	{"172-16-0-2.hdls.ns.svc", "A", records("172-16-0-2.hdls.ns.svc.cluster.local. 5 IN A 172.16.0.2")},
	{"172-16-0-3.hdls.ns.svc", "A", nxDomain()}, // has a hostname: one name per endpoint
	{"172-16-0-4.hdls.ns.svc", "A", nxDomain()}, // not ready
	{"fd00-2--b.hdls.ns.svc", "AAAA", records("fd00-2--b.hdls.ns.svc.cluster.local. 5 IN AAAA fd00:2::b")},
	{"fd00-2-0-0-0-0-0-b.hdls.ns.svc", "AAAA", nxDomain()}, // another spelling is another name
	{"twin.twins.ns.svc", "A", records("twin.twins.ns.svc.cluster.local. 5 IN A 172.16.1.1", "twin.twins.ns.svc.cluster.local. 5 IN A 172.16.1.2")},
	{"_http._tcp.twins.ns.svc", "SRV", records("_http._tcp.twins.ns.svc.cluster.local. 5 IN SRV 0 100 8080 twin.twins.ns.svc.cluster.local.").
		with("twin.twins.ns.svc.cluster.local. 5 IN A 172.16.1.1", "twin.twins.ns.svc.cluster.local. 5 IN A 172.16.1.2")},
	{"idle.ns.svc", "A", nxDomain()},
	{"_tcp.idle.ns.svc", "A", nxDomain()},

	// ExternalName.
	{"ext.ns.svc", "A", records("ext.ns.svc.cluster.local. 5 IN CNAME www.example.net.", "www.example.net. 60 IN A 192.0.2.80")},
	{"ext.ns.svc", "CNAME", records("ext.ns.svc.cluster.local. 5 IN CNAME www.example.net.")},
	{"ext.ns.svc", "HTTPS", records("ext.ns.svc.cluster.local. 5 IN CNAME www.example.net.")}, // D7
	{"extin.ns.svc", "A", records("extin.ns.svc.cluster.local. 5 IN CNAME web.ns.svc.cluster.local.", "web.ns.svc.cluster.local. 5 IN A 10.0.0.1")},
	{"foo.ext.ns.svc", "A", nxDomain()},
	{"_http._tcp.ext.ns.svc", "SRV", nxDomain()},
	{"extnone.ns.svc", "A", nxDomain()},

	// Inner nodes.
	{"ns.svc", "A", noData()},
	{"ns.svc", "TXT", noData()}, // D9
	{"vacant.svc", "A", noData()},
	{"gone.svc", "A", nxDomain()},
	{"svc", "TXT", noData()}, // D9
	{"pod", "A", noData()},
	{"ns.pod", "A", noData()}, // D9
	{"gone.pod", "A", nxDomain()},
	{"dns", "A", noData()}, // D4
	{"foo", "SOA", nxDomain()},
	{`a\.svc`, "A", nxDomain()},

	// Apex and what belongs to it.
	{"cluster.local.", "SOA", records("cluster.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5")},
	{"CLUSTER.local.", "SOA", records("CLUSTER.local. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5")},
	{"cluster.local.", "NS", records("cluster.local. 5 IN NS kube-dns.kube-system.svc.cluster.local.").
		with("kube-dns.kube-system.svc.cluster.local. 5 IN A 10.0.0.10")},
	{"CLUSTER.local.", "NS", records("CLUSTER.local. 5 IN NS kube-dns.kube-system.svc.cluster.local."). // D11
														with("kube-dns.kube-system.svc.cluster.local. 5 IN A 10.0.0.10")},
	{"cluster.local.", "A", noData()},
	{"cluster.local.", "TXT", noData()}, // D10
	{"ns.dns", "A", records("ns.dns.cluster.local. 5 IN A 10.0.0.10")},
	{"ns.dns.CLUSTER.local.", "A", records("ns.dns.CLUSTER.local. 5 IN A 10.0.0.10")}, // D11
	{"ns.dns", "TXT", noData()},
	{"dns-version", "TXT", records(`dns-version.cluster.local. 28800 IN TXT "1.1.0"`)},
	{"dns-version", "A", noData()}, // D12
	{"x.dns-version", "TXT", nxDomain()},

	// Pods, with the option at its default.
	{"172-16-0-1.ns.pod", "A", nxDomain()},

	// Reverse.
	{"1.0.0.10.in-addr.arpa.", "PTR", records("1.0.0.10.in-addr.arpa. 5 IN PTR web.ns.svc.cluster.local.")},
	{"1.0.0.10.in-addr.arpa.", "A", noData()}, // D15
	{"1.0.16.172.in-addr.arpa.", "PTR", records("1.0.16.172.in-addr.arpa. 5 IN PTR 172-16-0-1.web.ns.svc.cluster.local.")},
	{"3.0.16.172.in-addr.arpa.", "PTR", records("3.0.16.172.in-addr.arpa. 5 IN PTR host3.hdls.ns.svc.cluster.local.")},
	{"4.0.16.172.in-addr.arpa.", "PTR", nxDomain()}, // not ready
	{"1.2.16.172.in-addr.arpa.", "PTR", nxDomain()}, // of a Service without ready endpoints
	{"0.0.10.in-addr.arpa.", "PTR", noData()},       // D4
	{"10.in-addr.arpa.", "A", noData()},
	{"11.in-addr.arpa.", "A", nxDomain()},
	{"01.0.0.10.in-addr.arpa.", "PTR", nxDomain()},
	{"x.1.0.0.10.in-addr.arpa.", "PTR", nxDomain()},
	{"256.0.0.10.in-addr.arpa.", "PTR", nxDomain()},
	{"web.ns.svc.in-addr.arpa.", "A", nxDomain()},
	{"in-addr.arpa.", "SOA", records("in-addr.arpa. 5 IN SOA ns.dns.cluster.local. hostmaster.cluster.local. 7 7200 1800 86400 5")},
	{"in-addr.arpa.", "NS", records("in-addr.arpa. 5 IN NS kube-dns.kube-system.svc.cluster.local."). // D16
														with("kube-dns.kube-system.svc.cluster.local. 5 IN A 10.0.0.10")},
	{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.", "PTR", records(
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR six.ns.svc.cluster.local.")},
	{"0.0.d.f.ip6.arpa.", "PTR", noData()},
	{"1.0.d.f.ip6.arpa.", "PTR", nxDomain()},
	{"dd.0.d.f.ip6.arpa.", "PTR", nxDomain()},
}

func TestAnswers(t *testing.T) {
	s := plugged(fixture(), nil)
	for _, q := range queries {
		t.Run(q.name+" "+q.qtype, func(t *testing.T) { check(t, s, q) })
	}
}

func check(t *testing.T, s *Signpost, q query) {
	t.Helper()
	name := q.name
	if !strings.HasSuffix(name, ".") {
		name += "." + zoneSuffix
	}
	m, rcode := ask(t, s, name, dns.StringToType[q.qtype])
	if m == nil {
		t.Fatalf("rcode %s and no message", dns.RcodeToString[rcode])
	}
	if diff := cmp.Diff(q.want, short(t, m), cmp.AllowUnexported(want{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if !m.Authoritative || m.Rcode != rcode || m.Truncated {
		t.Errorf("aa %v, rcode %d returned %d, tc %v", m.Authoritative, m.Rcode, rcode, m.Truncated)
	}
	if _, err := m.Pack(); err != nil {
		t.Errorf("packing: %v", err)
	}
}

// short brings a message into the form of want, sorted.
func short(t *testing.T, m *dns.Msg) want {
	t.Helper()
	w := want{rcode: dns.RcodeToString[m.Rcode], answer: texts(m.Answer), extra: texts(m.Extra)}
	negative := len(m.Ns) == 1 && m.Ns[0].Header().Rrtype == dns.TypeSOA && len(m.Answer) == 0
	switch {
	case negative && m.Rcode == dns.RcodeSuccess:
		w.rcode = "NODATA"
	case negative && m.Rcode == dns.RcodeNameError:
	case len(m.Ns) > 0 || m.Rcode == dns.RcodeNameError || len(m.Answer) == 0:
		t.Errorf("unexpected sections:\n%v", m)
	}
	return w
}

func texts(rrs []dns.RR) []string {
	var list []string
	for _, rr := range rrs {
		list = append(list, strings.ReplaceAll(rr.String(), "\t", " "))
	}
	slices.Sort(list)
	return list
}

func TestPodNames(t *testing.T) {
	const v4, v6 = "172-16-0-1.ns.pod.cluster.local. 5 IN A 172.16.0.1", "fd00--11.ns.pod.cluster.local. 5 IN AAAA fd00::11"
	both := func(w want) map[podMode]want { return map[podMode]want{podsInsecure: w, podsVerified: w} }
	tests := []struct {
		name, qtype string
		want        map[podMode]want
	}{
		{"172-16-0-1.ns.pod", "A", both(records(v4))},
		{"172-16-0-1.ns.pod", "AAAA", both(noData())},
		{"fd00--11.ns.pod", "AAAA", both(records(v6))},
		{"172-16-0-1.ns.pod", "SRV", both(noData())},   // D14
		{"x.172-16-0-1.ns.pod", "A", both(nxDomain())}, // D13
		{"172-16-0-1.gone.pod", "A", both(nxDomain())},
		{"999-1-1-1.ns.pod", "A", both(nxDomain())},
		{"010-16-0-1.ns.pod", "A", both(nxDomain())},
		{"blah.ns.pod", "A", both(nxDomain())},
		{"ns.pod", "A", both(noData())},
		{"1-2-3-4.ns.pod", "A", map[podMode]want{podsVerified: nxDomain(), podsInsecure: records("1-2-3-4.ns.pod.cluster.local. 5 IN A 1.2.3.4")}},
		{"172-16-0-1.vacant.pod", "A", map[podMode]want{podsVerified: nxDomain(), podsInsecure: records("172-16-0-1.vacant.pod.cluster.local. 5 IN A 172.16.0.1")}},
	}
	for mode, name := range map[podMode]string{podsInsecure: "insecure", podsVerified: "verified"} {
		s := plugged(fixture(), func(s *Signpost) { s.pods = mode })
		for _, test := range tests {
			t.Run(name+" "+test.name+" "+test.qtype, func(t *testing.T) {
				check(t, s, query{test.name, test.qtype, test.want[mode]})
			})
		}
	}
}

// The functions that the package comment lists on the trip of an answer are in the files
// that it names.
func TestTripOfAnAnswer(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != "//" || !strings.HasSuffix(words[1], ".go") || !strings.Contains(words[1], "/") {
			continue
		}
		files++
		code, err := os.ReadFile("../../" + words[1])
		if err != nil {
			t.Error(err)
			continue
		}
		for _, name := range words[2:] {
			if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name + `\(`).Match(code) {
				t.Errorf("%s has no function %s", words[1], name)
			}
		}
	}
	if files == 0 || files > 5 {
		t.Errorf("the trip has %d files, want 1 to 5", files)
	}
}
