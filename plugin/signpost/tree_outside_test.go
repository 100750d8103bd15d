package signpost

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func reachedAt(x cluster.External) func(*cluster.Service) {
	return func(s *cluster.Service) { s.External = &x }
}

// outsideFixture adds Services with addresses outside to the fixture.
func outsideFixture() *cluster.Store {
	s := fixture()
	s.Put(8,
		service("ns", "shop", reachedAt(cluster.External{IPs: addrs("192.0.2.1", "2001:db8::1"), LB: addrs("198.51.100.1", "192.0.2.1")}), "10.0.1.1"),
		slice("ns", "shop", "shop-1", http8080, ready("172.16.3.1", "")),
		service("ns", "named", reachedAt(cluster.External{Hosts: []string{"www.example.net", "b.elb.example.net"}}), "10.0.1.2"),
		service("ns", "both", reachedAt(cluster.External{LB: addrs("192.0.2.2"), Hosts: []string{"www.example.net"}}), "10.0.1.3"),
		service("ns", "bare", func(s *cluster.Service) {
			s.External, s.Ports = &cluster.External{IPs: addrs("192.0.2.3")}, nil
		}, "10.0.1.4"),
		service("ns", "hdlsout", reachedAt(cluster.External{IPs: addrs("192.0.2.4")})),
		slice("ns", "hdlsout", "hdlsout-1", http8080, ready("172.16.3.4", "")),
		service("ns", "same", reachedAt(cluster.External{IPs: addrs("192.0.2.4")}), "10.0.1.5"),
	)
	return s
}

func outsidePlugged(headless bool, change func(*Signpost)) *Signpost {
	return plugged(outsideFixture(), func(s *Signpost) {
		s.outside = outsideSettings{zones: []string{"example.org.", "2.0.192.in-addr.arpa.", "ip6.arpa."}, headless: headless}
		s.zones = addOutside(s.zones, &s.outside)
		if change != nil {
			change(s)
		}
	})
}

// outsideQueries are names below example.org. unless they end in a dot.
var outsideQueries = []query{
	{"shop.ns", "A", records("shop.ns.example.org. 5 IN A 192.0.2.1", "shop.ns.example.org. 5 IN A 198.51.100.1")},
	{"Shop.NS.Example.Org.", "AAAA", records("Shop.NS.Example.Org. 5 IN AAAA 2001:db8::1")},
	{"shop.ns", "TXT", noData()},
	{"shop.ns", "SRV", records("shop.ns.example.org. 5 IN SRV 0 100 80 shop.ns.example.org.").with(
		"shop.ns.example.org. 5 IN A 192.0.2.1", "shop.ns.example.org. 5 IN A 198.51.100.1", "shop.ns.example.org. 5 IN AAAA 2001:db8::1")},
	{"_http._tcp.shop.ns", "SRV", records("_http._tcp.shop.ns.example.org. 5 IN SRV 0 100 80 shop.ns.example.org.").with(
		"shop.ns.example.org. 5 IN A 192.0.2.1", "shop.ns.example.org. 5 IN A 198.51.100.1", "shop.ns.example.org. 5 IN AAAA 2001:db8::1")},
	{"_http._tcp.shop.ns", "A", noData()},
	{"_tcp.shop.ns", "A", noData()},
	{"_udp.shop.ns", "A", nxDomain()},
	{"172-16-3-1.shop.ns", "A", nxDomain()},
	{"shop.ns.svc", "A", nxDomain()},
	{"x.y.shop.ns", "A", nxDomain()},
	{"bare.ns", "A", records("bare.ns.example.org. 5 IN A 192.0.2.3")},
	{"bare.ns", "SRV", noData()},
	{"both.ns", "A", records("both.ns.example.org. 5 IN A 192.0.2.2")},
	{"named.ns", "A", records("named.ns.example.org. 5 IN CNAME www.example.net.", "www.example.net. 60 IN A 192.0.2.80")},
	{"named.ns", "CNAME", records("named.ns.example.org. 5 IN CNAME www.example.net.")},
	{"_http._tcp.named.ns", "SRV", records("_http._tcp.named.ns.example.org. 5 IN SRV 0 50 80 b.elb.example.net.", "_http._tcp.named.ns.example.org. 5 IN SRV 0 50 80 www.example.net.")},
	{"hdlsout.ns", "A", records("hdlsout.ns.example.org. 5 IN A 192.0.2.4")},
	{"_http._tcp.hdlsout.ns", "SRV", records("_http._tcp.hdlsout.ns.example.org. 5 IN SRV 0 100 80 hdlsout.ns.example.org.").with("hdlsout.ns.example.org. 5 IN A 192.0.2.4")},
	{"web.ns", "A", nxDomain()},
	{"ext.ns", "A", nxDomain()},
	{"gone.ns", "A", nxDomain()},
	{"ns", "A", noData()},
	{"vacant", "A", noData()},
	{"gone", "A", nxDomain()},

	{"example.org.", "SOA", records("example.org. 5 IN SOA ns1.dns.example.org. hostmaster.dns.example.org. 8 7200 1800 86400 5")},
	{"example.org.", "NS", records("example.org. 5 IN NS ns1.dns.example.org.")},
	{"example.org.", "A", noData()},
	{"dns", "A", noData()},
	{"ns1.dns", "A", noData()}, // the Service of this server has no address outside
	{"ns2.dns", "A", nxDomain()},
	{"a.ns1.dns", "A", nxDomain()},
	{"dns-version", "TXT", nxDomain()},

	{"1.2.0.192.in-addr.arpa.", "PTR", records("1.2.0.192.in-addr.arpa. 5 IN PTR shop.ns.example.org.")},
	{"4.2.0.192.in-addr.arpa.", "PTR", records("4.2.0.192.in-addr.arpa. 5 IN PTR hdlsout.ns.example.org.", "4.2.0.192.in-addr.arpa. 5 IN PTR same.ns.example.org.")},
	{"4.2.0.192.in-addr.arpa.", "A", noData()},
	{"9.2.0.192.in-addr.arpa.", "PTR", nxDomain()},
	{"2.0.192.in-addr.arpa.", "NS", records("2.0.192.in-addr.arpa. 5 IN NS ns1.dns.example.org.")},
	{"1.100.51.198.in-addr.arpa.", "PTR", nxDomain()}, // in-addr.arpa is the cluster's alone
	{"1.0.0.10.in-addr.arpa.", "PTR", records("1.0.0.10.in-addr.arpa. 5 IN PTR web.ns.svc.cluster.local.")},
	{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", "PTR", // in both
		records("1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 5 IN PTR shop.ns.example.org.")},
	{"8.b.d.0.1.0.0.2.ip6.arpa.", "PTR", noData()},
	{"2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.", "PTR",
		records("2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa. 5 IN PTR dual.ns.svc.cluster.local.")},
}

func TestOutside(t *testing.T) {
	s := outsidePlugged(false, nil)
	checkQueries(t, s, "example.org.", outsideQueries)
	checkQueries(t, s, "example.org.", []query{{"hdls.ns", "A", nxDomain()}, {"host3.hdls.ns", "A", nxDomain()}})
}

func TestOutsideHeadless(t *testing.T) {
	s := outsidePlugged(true, nil)
	checkQueries(t, s, "example.org.", outsideQueries)
	checkQueries(t, s, "example.org.", []query{
		{"hdls.ns", "A", records("hdls.ns.example.org. 5 IN A 172.16.0.2", "hdls.ns.example.org. 5 IN A 172.16.0.3")},
		{"host3.hdls.ns", "A", records("host3.hdls.ns.example.org. 5 IN A 172.16.0.3")},
		{"172-16-0-2.hdls.ns", "A", records("172-16-0-2.hdls.ns.example.org. 5 IN A 172.16.0.2")},
		{"172-16-0-4.hdls.ns", "A", nxDomain()},
		{"_http._tcp.twins.ns", "SRV", records("_http._tcp.twins.ns.example.org. 5 IN SRV 0 100 8080 twin.twins.ns.example.org.").
			with("twin.twins.ns.example.org. 5 IN A 172.16.1.1", "twin.twins.ns.example.org. 5 IN A 172.16.1.2")},
		{"idle.ns", "A", nxDomain()},
		{"172-16-3-4.hdlsout.ns", "A", nxDomain()},
	})
}

// The server's own name outside is the address by which its Service is reached there.
func TestOutsideNameserver(t *testing.T) {
	s := outsidePlugged(false, func(s *Signpost) {
		s.outside.ttl, s.outside.ttlSet = 60, true
		s.store.Put(9, service("kube-system", "kube-dns", reachedAt(cluster.External{LB: addrs("192.0.2.53", "2001:db8::53")}), "10.0.0.10"))
	})
	checkQueries(t, s, "example.org.", []query{
		{"ns1.dns", "A", records("ns1.dns.example.org. 60 IN A 192.0.2.53")},
		{"ns1.dns", "AAAA", records("ns1.dns.example.org. 60 IN AAAA 2001:db8::53")},
		{"example.org.", "NS", records("example.org. 60 IN NS ns1.dns.example.org.").
			with("ns1.dns.example.org. 60 IN A 192.0.2.53", "ns1.dns.example.org. 60 IN AAAA 2001:db8::53")},
		{"ns.dns.cluster.local.", "A", records("ns.dns.cluster.local. 5 IN A 10.0.0.10")},
		{"bare.ns", "A", records("bare.ns.example.org. 60 IN A 192.0.2.3")},
	})
	s.local = addrs("10.9.9.9") // behind no Service
	checkQueries(t, s, "example.org.", []query{{"ns1.dns", "A", records("ns1.dns.example.org. 60 IN A 10.9.9.9")}})
}

// The zones outside are transferred as they are answered.
func TestOutsideTransfer(t *testing.T) {
	s := outsidePlugged(true, nil)
	for _, zone := range []string{"example.org.", "2.0.192.in-addr.arpa.", "ip6.arpa."} {
		records := transferred(t, s, zone, 0)
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				t.Fatal(err)
			}
			if m, _ := ask(t, s, rr.Header().Name, rr.Header().Rrtype); !slices.Contains(plain(m.Answer), text) {
				t.Errorf("%s: %s is not the answer to a query: %v", zone, text, m.Answer)
			}
		}
		for _, q := range outsideQueries {
			for _, text := range q.want.answer {
				_, rest, _ := strings.Cut(text, " SRV 0 ")
				if strings.Contains(text, "Shop.NS") || rest != "" || strings.Contains(text, "www.example.net. 60") || !strings.HasSuffix(strings.Fields(text)[0], zone) {
					continue
				}
				if !slices.Contains(records, text) {
					t.Errorf("%s is not in the zone %s", text, zone)
				}
			}
		}
	}
}

// checkQueries asks for names below a zone, unless they end in a dot.
func checkQueries(t *testing.T, s *Signpost, zone string, list []query) {
	t.Helper()
	for _, q := range list {
		if !strings.HasSuffix(q.name, ".") {
			q.name += "." + zone
		}
		t.Run(q.name+" "+q.qtype, func(t *testing.T) { check(t, s, q) })
	}
}
