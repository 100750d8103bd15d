package signpost

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/coredns/coredns/plugin/pkg/dnstest"
	"github.com/coredns/coredns/plugin/test"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// addrs parses addresses, for tests.
func addrs(texts ...string) []netip.Addr {
	list := make([]netip.Addr, len(texts))
	for i, t := range texts {
		list[i] = netip.MustParseAddr(t)
	}
	return list
}

// service makes a Service from "name.namespace".
func service(namespace, name string, change func(*cluster.Service), ips ...string) *cluster.Service {
	s := &cluster.Service{Key: cluster.Key{Namespace: namespace, Name: name}, ClusterIPs: addrs(ips...), Headless: len(ips) == 0}
	s.Ports = []cluster.ServicePort{{Name: "http", Number: 80, Protocol: cluster.TCP}}
	if change != nil {
		change(s)
	}
	return s
}

func slice(namespace, service, name string, ports []cluster.Port, eps ...cluster.Endpoint) *cluster.Slice {
	return cluster.NewSlice(cluster.Key{Namespace: namespace, Name: name}, cluster.Key{Namespace: namespace, Name: service}, 1, ports, eps)
}

func ready(addr, hostname string) cluster.Endpoint {
	return cluster.Endpoint{Addr: netip.MustParseAddr(addr), Hostname: hostname, Conditions: cluster.Ready | cluster.Serving}
}

func unready(addr string) cluster.Endpoint {
	return cluster.Endpoint{Addr: netip.MustParseAddr(addr)}
}

var http8080 = []cluster.Port{{Name: "http", Number: 8080, Protocol: cluster.TCP}}

// fixture is a small cluster with one of everything.
func fixture() *cluster.Store {
	s := cluster.NewStore()
	s.Put(7, &cluster.Namespace{Name: "ns"}, &cluster.Namespace{Name: "vacant"},
		service("ns", "web", nil, "10.0.0.1"),
		slice("ns", "web", "web-1", http8080, ready("172.16.0.1", ""), unready("172.16.0.9")),
		service("ns", "six", nil, "fd00:1::1"),
		service("ns", "dual", nil, "10.0.0.2", "fd00:1::2"),
		service("ns", "two", func(s *cluster.Service) {
			s.Ports = []cluster.ServicePort{
				{Name: "dns", Number: 53, Protocol: cluster.UDP}, {Name: "dns-tcp", Number: 53, Protocol: cluster.TCP},
			}
		}, "10.0.0.3"),
		service("ns", "unnamed", func(s *cluster.Service) { s.Ports[0].Name = "" }, "10.0.0.4"),
		service("ns", "noports", func(s *cluster.Service) { s.Ports = nil }, "10.0.0.5"),
		service("ns", "pending", func(s *cluster.Service) { s.Headless = false }),
		service("ns", "hdls", nil),
		slice("ns", "hdls", "hdls-1", http8080, ready("172.16.0.2", ""), ready("172.16.0.3", "host3"), unready("172.16.0.4")),
		slice("ns", "hdls", "hdls-6", http8080, ready("fd00:2::b", "")),
		service("ns", "twins", nil),
		slice("ns", "twins", "twins-1", http8080, ready("172.16.1.1", "twin"), ready("172.16.1.2", "twin")),
		service("ns", "idle", nil),
		slice("ns", "idle", "idle-1", http8080, unready("172.16.2.1")),
		service("ns", "ext", externalTo("www.example.net")),
		service("ns", "extin", externalTo("web.ns.svc.cluster.local")),
		service("ns", "extgone", externalTo("gone.ns.svc.cluster.local")),
		service("ns", "extloop", externalTo("extloop.ns.svc.cluster.local")),
		service("ns", "exta", externalTo("EXTB.ns.svc.cluster.local")),
		service("ns", "extb", externalTo("exta.ns.svc.cluster.local.")),
		service("ns", "ext2", externalTo("ext.ns.svc.cluster.local")),
		service("ns", "extnone", externalTo("")),
		service("kube-system", "kube-dns", nil, "10.0.0.10"),
		slice("kube-system", "kube-dns", "kube-dns-1", nil, ready("172.16.9.9", "")),
		&cluster.Pod{Key: cluster.Key{Namespace: "ns", Name: "p"}, Addrs: addrs("172.16.0.1", "fd00::11")},
	)
	s.MarkSynced()
	return s
}

func externalTo(name string) func(*cluster.Service) {
	return func(s *cluster.Service) {
		s.Type, s.Headless, s.Ports = cluster.ExternalName, false, nil
		s.External = &cluster.External{Name: name}
	}
}

// reenter is the server's own way: targets in our zones come back to the plugin,
// others are known, unknown or refused by a table.
func reenter(s *Signpost, outside map[string]int) resolver {
	return contextFunc(func(ctx context.Context, state request.Request, name string, qtype uint16) (*dns.Msg, error) {
		if _, ours := s.zones[0].relative(name); ours {
			rec := dnstest.NewRecorder(state.W)
			_, err := s.ServeDNS(ctx, rec, state.NewWithQuestion(name, qtype).Req)
			return rec.Msg, err
		}
		rcode, known := outside[name]
		if !known {
			return nil, errors.New("no upstream")
		}
		m := new(dns.Msg)
		m.Rcode = rcode
		if rcode == dns.RcodeSuccess && qtype == dns.TypeA {
			m.Answer = []dns.RR{test.A(name + " 60 IN A 192.0.2.80")}
		}
		return m, nil
	})
}

type contextFunc func(context.Context, request.Request, string, uint16) (*dns.Msg, error)

func (f contextFunc) Lookup(ctx context.Context, state request.Request, name string, qtype uint16) (*dns.Msg, error) {
	return f(ctx, state, name, qtype)
}

// plugged returns the plugin on the fixture, with the zones of kubeadm.
func plugged(store *cluster.Store, change func(*Signpost)) *Signpost {
	zones, primary := makeZones([]string{"cluster.local.", "in-addr.arpa.", "ip6.arpa."})
	s := &Signpost{zones: zones, primary: primary, settings: settings{ttl: 5, maxUDP: defaultMaxUDP}, store: store, local: addrs("172.16.9.9")}
	s.started.Store(true)
	s.upstream = reenter(s, map[string]int{"www.example.net.": dns.RcodeSuccess})
	if change != nil {
		change(s)
	}
	return s
}

// ask sends one query over UDP and returns what was written, or the bare rcode.
func ask(t testing.TB, s *Signpost, qname string, qtype uint16) (*dns.Msg, int) {
	t.Helper()
	r := new(dns.Msg)
	r.SetQuestion(qname, qtype)
	rec := dnstest.NewRecorder(&test.ResponseWriter{})
	rcode, err := s.ServeDNS(t.Context(), rec, r)
	if err != nil {
		t.Fatalf("%s %s: %v", qname, dns.TypeToString[qtype], err)
	}
	return rec.Msg, rcode
}
