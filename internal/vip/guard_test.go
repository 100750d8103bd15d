package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// A node at 192.168.0.2, whose machine also has 192.168.1.2, beside the API server at
// 192.168.0.1.
var guarding = Node{
	Name: cluster.MakeAtom("n1"), Addrs: addrs("192.168.0.2"),
	Guard: Guard{
		ServiceCIDRs: prefixes("10.96.0.0/12,fd00:96::/108"),
		Ports:        []Port{{10250, cluster.TCP}, {10256, cluster.TCP}, {22, 0}},
		API:          []netip.AddrPort{netip.MustParseAddrPort("192.168.0.1:6443")},
		Known:        addrs("192.168.0.2"), Others: addrs("192.168.0.1"), Machine: addrs("192.168.0.2", "192.168.1.2"),
	},
}

func TestGuard(t *testing.T) {
	server := guarding
	server.Guard.Known, server.Guard.Machine = addrs("192.168.0.1"), addrs("192.168.0.1", "192.168.1.1")
	for _, tt := range []struct {
		name    string
		node    Node
		service string // in the words of rows.txt
		refused string // what of it, in the order of frontends
	}{
		{"an address far away", guarding, "external=203.0.113.9 lb=203.0.113.10 port=a:22/tcp port=b:10250/tcp", ""},
		{"a ClusterIP of another", guarding, "external=10.96.7.7 port=a:80/tcp", "ExternalIP 10.96.7.7"},
		{"of a load balancer", guarding, "lb=10.96.7.7 port=a:80/tcp port=b:81/tcp", "LoadBalancer 10.96.7.7"},
		{"of both families", guarding, "external=10.96.7.7,fd00:96::7 port=a:80/tcp", "ExternalIP 10.96.7.7, ExternalIP fd00:96::7"},
		{"its own ClusterIP", guarding, "external=10.96.0.1 lb=10.96.0.1 port=a:80/tcp", ""},
		{"a proxied one is not served anyway", guarding, "lb=10.96.7.7 proxied=10.96.7.7 port=a:80/tcp", ""},
		{"ports of the node", guarding, "external=192.168.0.2 port=a:8080/tcp port=b:10250/tcp port=c:22/tcp port=d:10256/tcp",
			"ExternalIP 192.168.0.2 tcp 22, ExternalIP 192.168.0.2 tcp 10250, ExternalIP 192.168.0.2 tcp 10256"},
		{"by a load balancer", guarding, "lb=192.168.0.2 port=a:443/tcp port=b:10250/tcp", "LoadBalancer 192.168.0.2 tcp 10250"},
		{"another protocol", guarding, "external=192.168.0.2 port=a:10250/udp port=b:22/udp", "ExternalIP 192.168.0.2 udp 22"},
		{"a second address", guarding, "external=192.168.1.2 port=a:8080/tcp port=b:22/tcp", "ExternalIP 192.168.1.2 tcp 22"},
		{"that a load balancer's address is put on", guarding, "lb=192.168.1.2 port=a:22/tcp port=b:6443/tcp", ""},
		{"an API server", guarding, "external=192.168.0.1 port=a:6443/tcp port=b:8080/tcp", "ExternalIP 192.168.0.1 tcp 6443"},
		{"other ports of its node", guarding, "external=192.168.0.1 port=a:22/tcp", "ExternalIP 192.168.0.1 tcp 22"},
		{"no API server here", guarding, "external=192.168.0.2 port=a:6443/tcp", ""},
		{"an API server here", server, "external=192.168.1.1 port=a:6443/tcp port=b:6444/tcp", "ExternalIP 192.168.1.1 tcp 6443"},
		{"by its load balancer", server, "lb=192.168.0.1,192.168.1.1 port=a:6443/tcp", "LoadBalancer 192.168.0.1 tcp 6443"},
		{"a NodePort", guarding, "port=a:80/tcp:22 port=b:81/tcp:30081", "NodePort node-ipv4 tcp 22"},
		{"a NodePort at the kubelet's", guarding, "port=a:80/tcp:10250", "NodePort node-ipv4 tcp 10250"},
		{"a health check port", guarding, "lb=203.0.113.10 etp=Local check=10256 port=a:80/tcp", "HealthCheck node-ipv4 tcp 10256"},
		{"no external IPs at all", func() Node { n := guarding; n.NoExternalIPs = true; return n }(), "external=10.96.7.7 port=a:80/tcp", ""},
		{"nothing is guarded", Node{}, "external=10.96.7.7,192.168.0.2 port=a:22/tcp port=b:80/tcp:22", ""},
	} {
		s := newScene(t)
		clusterIPs := "10.96.0.1,fd00:96::1"
		if !strings.Contains(tt.service, "fd00") {
			clusterIPs = "10.96.0.1"
		}
		s.service(tt.name, append([]string{"web", clusterIPs}, strings.Fields(tt.service)...))
		e := s.store.Service("ns", "web")
		var got []string
		for _, r := range Refused(e, tt.node) {
			text, why, _ := strings.Cut(r.String(), " is refused: ")
			if why == "" || why != r.Why {
				t.Errorf("%s: %q does not say why", tt.name, r.String())
			}
			got = append(got, text)
		}
		if g := strings.Join(got, ", "); g != tt.refused {
			t.Errorf("%s: refused %q, want %q", tt.name, g, tt.refused)
		}
		checkLeftOut(t, tt.name, e, tt.node)
	}
}

// checkLeftOut: with a Guard, Build makes what it makes without, less what is refused.
func checkLeftOut(t *testing.T, name string, e *cluster.Entry, n Node) {
	t.Helper()
	open := n
	open.Guard.ServiceCIDRs, open.Guard.Ports, open.Guard.API = nil, nil, nil
	refused := Refused(e, n)
	var want, got []string
	for _, r := range Build(e, open) {
		if !slices.ContainsFunc(refused, func(x Refusal) bool {
			return x.Frontend == r.Frontend || x.IsOtherPorts() && x.Addr == r.Addr
		}) {
			want = append(want, r.String())
		}
	}
	for _, r := range Build(e, n) {
		got = append(got, r.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: built\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What Differences does not name is built alike.
func TestGuardDifferences(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Guard)
		want   string
	}{
		{"nothing", func(*Guard) {}, "[]"},
		{"a ServiceCIDR is added", func(g *Guard) { g.ServiceCIDRs = prefixes("10.96.0.0/12,10.112.0.0/16,fd00:96::/108") }, "[10.112.0.0/16]"},
		{"and removed", func(g *Guard) { g.ServiceCIDRs = prefixes("10.96.0.0/12") }, "[fd00:96::/108]"},
		{"the machine has one address for another", func(g *Guard) { g.Machine = addrs("192.168.0.2", "192.168.3.3") }, "[192.168.1.2/32 192.168.3.3/32]"},
		{"an API server comes", func(g *Guard) {
			g.API = append(g.API[:1:1], netip.MustParseAddrPort("192.168.0.9:6443"))
		}, "[192.168.0.9/32]"},
	} {
		was, is := guarding.Guard, guarding.Guard
		tt.change(&is)
		if got := fmt.Sprint(was.Differences(&is)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}
