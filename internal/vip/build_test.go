package vip

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/internal/cluster"
)

const here = "node-1"

var (
	detecting = Node{Name: cluster.MakeAtom(here), Pods: Pods{CIDRs: []netip.Prefix{
		netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48"),
	}}}
	web      = cluster.Key{Namespace: "ns", Name: "web"}
	http8080 = []cluster.Port{{Name: "http", Number: 8080, Protocol: cluster.TCP}}
)

func addrs(texts ...string) []netip.Addr {
	var list []netip.Addr
	for _, t := range texts {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

func ep(addr, node string, c cluster.Conditions) cluster.Endpoint {
	return cluster.Endpoint{Addr: netip.MustParseAddr(addr), Node: cluster.MakeAtom(node), Conditions: c}
}

func sliceOf(name string, ports []cluster.Port, eps ...cluster.Endpoint) *cluster.Slice {
	return cluster.NewSlice(cluster.Key{Namespace: "ns", Name: name}, web, 1, ports, eps)
}

// entry puts a Service and its slices into a Store and takes the Entry out again.
func entry(change func(*cluster.Service), slices ...*cluster.Slice) *cluster.Entry {
	svc := &cluster.Service{
		Key: web, ClusterIPs: addrs("10.96.0.1"),
		Ports: []cluster.ServicePort{{Name: "http", Number: 80, Protocol: cluster.TCP}},
	}
	if change != nil {
		change(svc)
	}
	store := cluster.NewStore()
	store.Put(1, svc)
	for _, s := range slices {
		store.Put(1, s)
	}
	return store.Service(web.Namespace, web.Name)
}

const (
	ready       = cluster.Ready | cluster.Serving
	draining    = cluster.Serving | cluster.Terminating
	terminating = cluster.Terminating
)

func TestBuild(t *testing.T) {
	both := sliceOf("web-1", http8080, ep("10.244.1.2", here, ready), ep("10.244.2.7", "node-2", ready))
	all := func(s *cluster.Service) {
		s.Type = cluster.LoadBalancer
		s.Ports[0].NodePort = 30009
		s.External = &cluster.External{IPs: addrs("192.0.2.1", "2001:db8::1"), LB: addrs("198.51.100.1")}
	}
	tests := []struct {
		name  string
		entry *cluster.Entry
		node  Node
		want  string // Table.String, without the final newline
	}{
		{"nothing", nil, detecting, ""},
		{"headless", entry(func(s *cluster.Service) { s.Headless, s.ClusterIPs = true, nil }, both), detecting, ""},
		{"ExternalName", entry(func(s *cluster.Service) { s.Type = cluster.ExternalName }, both), detecting, ""},
		{"no port", entry(func(s *cluster.Service) { s.Ports = nil }, both), detecting, ""},
		{"ClusterIP", entry(nil, both), detecting,
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080"},
		{"ClusterIP, pods cannot be told", entry(nil, both), Node{Name: detecting.Name},
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster outside=cluster -> 10.244.1.2:8080* 10.244.2.7:8080"},
		{"ClusterIP, masqueradeAll", entry(nil, both), Node{MasqueradeAll: true},
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster+masquerade node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080 10.244.2.7:8080"},
		{"every kind", entry(all, both), detecting, strings.Join([]string{
			"node-ipv4 tcp 30009 NodePort ns/web:http pod=cluster+masquerade node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
			"192.0.2.1 tcp 80 ExternalIP ns/web:http pod=cluster+masquerade node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
			"198.51.100.1 tcp 80 LoadBalancer ns/web:http pod=cluster+masquerade node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
		}, "\n")},
		{"external IPs are not allowed", entry(func(s *cluster.Service) {
			all(s)
			s.External.IPs = addrs("192.0.2.1", "198.51.100.1") // the second is a load balancer's, too
		}, both), Node{Name: detecting.Name, Pods: detecting.Pods, NoExternalIPs: true}, strings.Join([]string{
			"node-ipv4 tcp 30009 NodePort ns/web:http pod=cluster+masquerade node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
			"198.51.100.1 tcp 80 LoadBalancer ns/web:http pod=cluster+masquerade node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
		}, "\n")},
		{"no endpoints", entry(all), detecting, strings.Join([]string{
			"node-ipv4 tcp 30009 NodePort ns/web:http pod=reject node=reject outside=reject",
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=reject node=reject outside=reject",
			"192.0.2.1 tcp 80 ExternalIP ns/web:http pod=reject node=reject outside=reject",
			"198.51.100.1 tcp 80 LoadBalancer ns/web:http pod=reject node=reject outside=reject",
		}, "\n")},
		{"only unready", entry(nil, sliceOf("web-1", http8080, ep("10.244.1.2", here, 0), ep("10.244.1.3", here, terminating))), detecting,
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=reject node=reject outside=reject"},
		{"only draining", entry(nil, sliceOf("web-1", http8080, ep("10.244.1.2", here, draining), ep("10.244.1.3", here, terminating))), detecting,
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080*"},
		{"ready goes before draining", entry(nil, sliceOf("web-1", http8080, ep("10.244.1.2", here, draining), ep("10.244.2.3", "node-2", ready))), detecting,
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.2.3:8080"},
		{"dual stack", entry(func(s *cluster.Service) {
			s.ClusterIPs = addrs("10.96.0.1", "fd00:10:96::1")
			s.Ports[0].NodePort = 30009
		},
			both, sliceOf("web-6", http8080, ep("fd00:10:244:1::2", here, ready))), detecting, strings.Join([]string{
			"node-ipv4 tcp 30009 NodePort ns/web:http pod=cluster+masquerade node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
			"node-ipv6 tcp 30009 NodePort ns/web:http pod=cluster+masquerade node=cluster+masquerade outside=cluster+masquerade -> [fd00:10:244:1::2]:8080*",
			"fd00:10:96::1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> [fd00:10:244:1::2]:8080*",
		}, "\n")},
		{"dual stack, pods told in one family", entry(func(s *cluster.Service) { s.ClusterIPs = addrs("10.96.0.1", "fd00:10:96::1") },
			both, sliceOf("web-6", http8080, ep("fd00:10:244:1::2", here, ready))), Node{Name: detecting.Name, Pods: Pods{CIDRs: detecting.Pods.CIDRs[:1]}}, strings.Join([]string{
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.2.7:8080",
			"fd00:10:96::1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster outside=cluster -> [fd00:10:244:1::2]:8080*",
		}, "\n")},
		{"ports by name and protocol", entry(func(s *cluster.Service) {
			s.Ports = []cluster.ServicePort{
				{Name: "dns", Number: 53, Protocol: cluster.UDP}, {Name: "dns-tcp", Number: 53, Protocol: cluster.TCP},
				{Name: "sctp", Number: 53, Protocol: cluster.SCTP}, {Name: "gone", Number: 99, Protocol: cluster.TCP},
			}
		}, sliceOf("web-1", []cluster.Port{
			{Name: "dns", Number: 1053, Protocol: cluster.UDP}, {Name: "dns-tcp", Number: 2053, Protocol: cluster.TCP},
			{Name: "sctp", Number: 3053, Protocol: cluster.SCTP}, {Name: "gone", Number: 99, Protocol: cluster.UDP},
		}, ep("10.244.1.2", here, ready))), detecting, strings.Join([]string{
			"10.96.0.1 tcp 53 ClusterIP ns/web:dns-tcp pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:2053*",
			"10.96.0.1 tcp 99 ClusterIP ns/web:gone pod=reject node=reject outside=reject",
			"10.96.0.1 udp 53 ClusterIP ns/web:dns pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:1053*",
			"10.96.0.1 sctp 53 ClusterIP ns/web:sctp pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:3053*",
		}, "\n")},
		{"named target ports that differ by pod", entry(nil,
			sliceOf("web-1", http8080, ep("10.244.1.2", here, ready)),
			sliceOf("web-2", []cluster.Port{{Name: "http", Number: 9090, Protocol: cluster.TCP}}, ep("10.244.1.3", here, ready)),
		), detecting,
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080* 10.244.1.3:9090*"},
		{"one endpoint in two slices", entry(nil,
			sliceOf("web-1", http8080, ep("10.244.1.2", here, ready)),
			sliceOf("web-2", http8080, ep("10.244.1.2", here, ready)),
		), detecting,
			"10.96.0.1 tcp 80 ClusterIP ns/web:http pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080*"},
		{"a port without a name", entry(func(s *cluster.Service) { s.Ports[0].Name = "" },
			sliceOf("web-1", []cluster.Port{{Number: 8080, Protocol: cluster.TCP}}, ep("10.244.1.2", "", ready))), detecting,
			"10.96.0.1 tcp 80 ClusterIP ns/web pod=cluster node=cluster+masquerade outside=cluster+masquerade -> 10.244.1.2:8080"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := NewTable()
			table.Set(web, Build(tt.entry, tt.node))
			if diff := cmp.Diff(tt.want, withoutOthers(table)); diff != "" {
				t.Errorf("table (-want +got):\n%s", diff)
			}
		})
	}
}

// withoutOthers is the table less the lines that say that what no frontend has is refused.
func withoutOthers(t *Table) string {
	var lines []string
	for line := range strings.Lines(t.String()) {
		if !strings.Contains(line, " OtherPorts ") {
			lines = append(lines, line)
		}
	}
	return strings.TrimSuffix(strings.Join(lines, ""), "\n")
}
