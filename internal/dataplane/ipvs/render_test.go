package ipvs

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

var update = flag.Bool("update", false, "write golden files anew")

var testHost = dataplane.Host{
	Host: vip.Host{
		Pods:          vip.Pods{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48")}},
		NodePortAddrs: []netip.Addr{netip.MustParseAddr("192.168.7.11")},
	},
	MasqueradeMark: 0x4000,
}

// web is the Service of ten thousand tutorials: a ClusterIP, a NodePort, three pods.
func web() (*cluster.Service, []cluster.Endpoint) {
	s := &cluster.Service{
		Key: cluster.Key{Namespace: "default", Name: "web"}, Type: cluster.NodePort,
		ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.12.34")},
		Ports:      []cluster.ServicePort{{Number: 80, NodePort: 30009, Protocol: cluster.TCP}},
	}
	var pods []cluster.Endpoint
	for i, node := range []string{"node-1", "node-1", "node-2"} {
		pods = append(pods, cluster.Endpoint{
			Addr: netip.MustParseAddr(fmt.Sprintf("10.244.%d.%d", i/2+1, i+5)), Node: cluster.MakeAtom(node),
			Conditions: cluster.Ready | cluster.Serving,
		})
	}
	return s, pods
}

// routes are the routes of a Service on node-1.
func routes(s *cluster.Service, pods []cluster.Endpoint) []*vip.Route {
	store := cluster.NewStore()
	store.Put(1, s, cluster.NewSlice(cluster.Key{Namespace: s.Key.Namespace, Name: s.Key.Name + "-abc"}, s.Key, 1,
		[]cluster.Port{{Number: 8080, Protocol: cluster.TCP}}, pods))
	return vip.Build(store.Service(s.Key.Namespace, s.Key.Name), vip.Node{Name: cluster.MakeAtom("node-1"), Pods: testHost.Pods})
}

func tableOf(s *cluster.Service, pods []cluster.Endpoint) *vip.Table {
	t := vip.NewTable()
	t.Set(s.Key, routes(s, pods))
	return t
}

// What would be written, for people who read it.
func TestRender(t *testing.T) {
	s, pods := web()
	golden(t, "tutorial", Render(Options{}, testHost, tableOf(s, pods)))
	golden(t, "no-endpoints", Render(Options{}, testHost, tableOf(s, nil)))
	local := *s
	local.Type, local.ExternalLocal = cluster.LoadBalancer, true
	local.External = &cluster.External{
		LB:     []netip.Addr{netip.MustParseAddr("203.0.113.7")},
		Policy: cluster.Policy{Scheduler: "lc", Sources: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, HealthCheckPort: 32000},
	}
	host := testHost
	host.Pods = vip.Pods{Interface: "cbr0"}
	host.ServiceCIDRs, host.DropsUnused = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")}, true
	golden(t, "local", Render(Options{Scheduler: "wrr"}, host, tableOf(&local, pods)))
	sticky := *s
	sticky.External = &cluster.External{Policy: cluster.Policy{Affinity: 10800, Scheduler: "sh"}}
	host.Pods = vip.Pods{Prefix: "veth"}
	golden(t, "affinity", Render(Options{}, host, tableOf(&sticky, pods)))
}

// An external IP that is an address of the node is not put on kube-ipvs0, and its other ports stay the node's.
func TestExternalIPOfTheNode(t *testing.T) {
	s, pods := web()
	s.External = &cluster.External{IPs: []netip.Addr{netip.MustParseAddr("192.168.7.11"), netip.MustParseAddr("203.0.113.7")}}
	host := testHost
	host.Addrs = []netip.Addr{netip.MustParseAddr("192.168.7.11")}
	got := Render(Options{}, host, tableOf(s, pods))
	for text, want := range map[string]bool{
		"-A -t 192.168.7.11:80 -s rr\n":                      true,
		"addr add 192.168.7.11/32":                           false,
		"add element ip signpost-ipvs vips { 192.168.7.11 }": false,
		"-A -t 203.0.113.7:80 -s rr\n":                       true,
		"addr add 203.0.113.7/32 dev kube-ipvs0":             true,
		"add element ip signpost-ipvs vips { 203.0.113.7 }":  true,
		"type nat hook prerouting priority -110; policy accept;\n\t\tip daddr @vips fib daddr type local dnat to ip daddr\n": true,
		"type nat hook output priority -110; policy accept;\n\t\tip6 daddr @vips fib daddr type local dnat to ip6 daddr\n":   true,
	} {
		if strings.Contains(got, text) != want {
			t.Errorf("%q: want %v in\n%s", text, want, got)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got), go test -update writes it anew:\n%s", file, diff)
	}
}

// An external IP that is another node's address, or this node's own, is not put on
// kube-ipvs0, and its other ports are not refused.
func TestAddressesOfNodesAreNotBound(t *testing.T) {
	s, pods := web()
	for _, a := range []string{"192.168.7.12", "192.168.7.11", "203.0.113.9"} {
		s.External = &cluster.External{IPs: append(s.Outside(), netip.MustParseAddr(a))}
	}
	store := cluster.NewStore()
	store.Put(1, s, cluster.NewSlice(cluster.Key{Namespace: s.Key.Namespace, Name: "web-abc"}, s.Key, 1,
		[]cluster.Port{{Number: 8080, Protocol: cluster.TCP}}, pods))
	table := vip.NewTable()
	table.Set(s.Key, vip.Build(store.Service(s.Namespace, s.Name), vip.Node{
		Name: cluster.MakeAtom("node-1"), Pods: testHost.Pods, Guard: vip.Guard{Others: []netip.Addr{netip.MustParseAddr("192.168.7.12")}},
	}))
	host := testHost
	host.Addrs = []netip.Addr{netip.MustParseAddr("192.168.7.11")}
	text := Render(Options{}, host, table)
	for line, want := range map[string]bool{
		"-A -t 192.168.7.12:80 ": true, "-A -t 192.168.7.11:80 ": true, "-A -t 203.0.113.9:80 ": true,
		"addr add 192.168.7.12/32": false, "addr add 192.168.7.11/32": false, "addr add 203.0.113.9/32": true,
		"vips { 192.168.7.12 }": false, "vips { 192.168.7.11 }": false, "vips { 203.0.113.9 }": true,
	} {
		if strings.Contains(text, line) != want {
			t.Errorf("%q: there %v, want %v\n%s", line, !want, want, text)
		}
	}
}
