// Package bench measures Signpost beside what it replaces, in one run on one
// machine: ratios mean something, absolute times of shared machines do not. It
// must not assert timings. Run it with
//
//	go test -run '^$' -bench . ./test/bench
package bench

import (
	"fmt"
	"net"
	"testing"

	"github.com/coredns/coredns/plugin/test"
	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/test/api"
	"github.com/signpost-dns/signpost/test/peer"
)

var plugins = []string{"signpost", "kubernetes"}

// crowd is a headless Service of n endpoints in slices of a hundred.
func crowd(name string, n int) []k8sruntime.Object {
	objects := []k8sruntime.Object{peer.Service("ns", name, peer.HTTP, "None")}
	for first := 0; first < n; first += 100 {
		var eps []discoveryv1.Endpoint
		for i := first; i < min(n, first+100); i++ {
			eps = append(eps, peer.Endpoint(true, "", fmt.Sprintf("172.%d.%d.%d", 17+i/62500, i/250%250, i%250)))
		}
		objects = append(objects, peer.Slice("ns", name, fmt.Sprint(first), 8080, discoveryv1.AddressTypeIPv4, eps...))
	}
	return objects
}

// queries are what clusters ask most, and what costs most.
var queries = []struct {
	name, qname string
	qtype       uint16
}{
	{"A", "web.ns.svc.cluster.local.", dns.TypeA},
	{"NODATA", "web.ns.svc.cluster.local.", dns.TypeAAAA},
	{"NXDOMAIN", "gone.ns.svc.cluster.local.", dns.TypeA},
	{"NXDOMAIN-search-list", "www.example.com.ns.svc.cluster.local.", dns.TypeA},
	{"SRV", "_http._tcp.web.ns.svc.cluster.local.", dns.TypeSRV},
	{"PTR", "1.0.0.10.in-addr.arpa.", dns.TypePTR},
	{"headless-3", "hdls.ns.svc.cluster.local.", dns.TypeA},
	{"headless-100", "hundred.ns.svc.cluster.local.", dns.TypeA},
	{"headless-1000", "thousand.ns.svc.cluster.local.", dns.TypeA},
	{"headless-1000-SRV", "_http._tcp.thousand.ns.svc.cluster.local.", dns.TypeSRV},
}

// writer is a UDP client that throws answers away.
type writer struct{ test.ResponseWriter }

var client net.Addr = &net.UDPAddr{IP: net.IPv4(10, 240, 0, 1), Port: 40212}

func (*writer) RemoteAddr() net.Addr      { return client }
func (*writer) WriteMsg(_ *dns.Msg) error { return nil }

// BenchmarkServeDNS is one query through the plugin alone, over UDP with 1232 bytes.
func BenchmarkServeDNS(b *testing.B) {
	s := api.New(b)
	s.Put(peer.Cluster()...)
	s.Put(crowd("hundred", 100)...)
	s.Put(crowd("thousand", 1000)...)
	for _, plugin := range plugins {
		side := peer.Start(b, plugin, s.URL, "", "")
		for _, q := range queries {
			b.Run(q.name+"/plugin="+plugin, func(b *testing.B) {
				r := new(dns.Msg)
				r.SetQuestion(q.qname, q.qtype)
				r.SetEdns0(1232, false)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := side.Handler.ServeDNS(b.Context(), &writer{}, r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// services are n ClusterIP Services with one port and no endpoints.
func services(n int) []k8sruntime.Object {
	var objects []k8sruntime.Object
	for i := range n {
		objects = append(objects, peer.Service("ns", fmt.Sprintf("service-%05d", i), peer.HTTP, fmt.Sprintf("10.%d.%d.%d", 96+i/62500, i/250%250, i%250)))
	}
	return objects
}
