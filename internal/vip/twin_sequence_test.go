package vip

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// A small world, so that things meet.
var (
	twinVIPs    = addrs("172.30.0.1", "172.30.0.2", "192.0.2.1", "1.2.3.4", "192.168.0.2")
	twinVIPs6   = addrs("fd00:96::1", "fd00:96::2", "2001:db8:9::4", "2001:db8::1")
	twinPods    = addrs("10.0.0.1", "10.0.0.2", "10.0.1.1", "192.168.0.2")
	twinPods6   = addrs("fd00:10::1", "fd00:10::2", "2001:db8::1")
	twinClients = addrs("10.0.0.1", "10.0.9.9", "192.168.0.2", "127.0.0.1", "203.0.113.2", "203.0.113.130", "1.2.3.4", "10.0.1.1")
	twinOthers6 = addrs("fd00:10::1", "fd00:10::9", "2001:db8::1", "2600::1", "2001:db8:9::4")
	twinRanges  = prefixes("203.0.113.0/25,203.0.113.128/25,192.168.0.0/24,0.0.0.0/0,10.0.0.0/8,2600::/16,2001:db8::/64,0.0.0.0/32,1.2.3.0/24")
	twinPorts   = []cluster.Port{
		{Name: "a", Number: 8080, Protocol: cluster.TCP}, {Name: "a", Number: 9090, Protocol: cluster.TCP},
		{Name: "b", Number: 53, Protocol: cluster.UDP}, {Name: "c", Number: 53, Protocol: cluster.TCP},
	}
	twinNames = []string{"x", "y"}
)

func some[T any](t *rapid.T, from []T, most int, what string) []T {
	if len(from) == 0 {
		return nil
	}
	return rapid.SliceOfN(rapid.SampledFrom(from), 0, most).Draw(t, what)
}

func randomService(t *rapid.T) *cluster.Service {
	s := &cluster.Service{
		Key:           cluster.Key{Namespace: "ns", Name: rapid.SampledFrom(twinNames).Draw(t, "service")},
		Type:          rapid.SampledFrom([]cluster.ServiceType{cluster.LoadBalancer, cluster.LoadBalancer, cluster.NodePort, cluster.ClusterIP, cluster.ExternalName}).Draw(t, "type"),
		Headless:      rapid.IntRange(0, 9).Draw(t, "headless") == 0,
		InternalLocal: rapid.Bool().Draw(t, "itp"), ExternalLocal: rapid.Bool().Draw(t, "etp"),
		Created: uint32(rapid.IntRange(0, 2).Draw(t, "created")),
	}
	if rapid.IntRange(0, 9).Draw(t, "ipv4") > 0 {
		s.ClusterIPs = append(s.ClusterIPs, rapid.SampledFrom(twinVIPs[:2]).Draw(t, "cluster IP"))
	}
	if rapid.Bool().Draw(t, "ipv6") {
		s.ClusterIPs = append(s.ClusterIPs, rapid.SampledFrom(twinVIPs6[:2]).Draw(t, "cluster IP"))
	}
	if rapid.Bool().Draw(t, "external") {
		vips := slices.Concat(twinVIPs, twinVIPs6)
		s.External = &cluster.External{IPs: some(t, vips, 2, "external IPs"), LB: some(t, vips, 3, "load balancers"), Policy: cluster.Policy{
			Sources: some(t, twinRanges, 3, "ranges"), Affinity: uint32(rapid.IntRange(0, 1).Draw(t, "affinity")),
			HealthCheckPort: rapid.SampledFrom([]uint16{0, 30000, 30001}).Draw(t, "check"),
		}}
		s.External.Proxied = some(t, s.External.LB, 1, "proxied")
	}
	for _, p := range []cluster.ServicePort{
		{Name: "a", Number: 80, Protocol: cluster.TCP}, {Name: "b", Number: 53, Protocol: cluster.UDP}, {Name: "c", Number: 53, Protocol: cluster.TCP},
	} {
		if p.Name == "a" || rapid.Bool().Draw(t, "port") {
			p.NodePort = rapid.SampledFrom([]uint16{0, 30000, 30001}).Draw(t, "NodePort")
			s.Ports = append(s.Ports, p)
		}
	}
	return s
}

func randomSlice(t *rapid.T, version uint64) rawSlice {
	s := rawSlice{
		name:    rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "slice"),
		service: cluster.Key{Namespace: "ns", Name: rapid.SampledFrom(twinNames).Draw(t, "of")}, version: version,
		ports: rapid.SampledFrom([][]cluster.Port{twinPorts[:1], twinPorts[:1], twinPorts[1:2], twinPorts[2:], {twinPorts[0], twinPorts[2]}}).Draw(t, "ports"),
	}
	pods := rapid.SampledFrom([][]netip.Addr{twinPods, twinPods, twinPods6}).Draw(t, "family")
	hints := []string{"", "", "", "zone-a", "zone-b", "zone-a,zone-b"}
	for range rapid.IntRange(1, 5).Draw(t, "endpoints") {
		s.list = append(s.list, cluster.Endpoint{
			Addr:       rapid.SampledFrom(pods).Draw(t, "pod"),
			Node:       cluster.MakeAtom(rapid.SampledFrom([]string{"n1", "n2", ""}).Draw(t, "node")),
			ForZones:   cluster.MakeAtom(rapid.SampledFrom(hints).Draw(t, "zones")),
			ForNodes:   cluster.MakeAtom(rapid.SampledFrom([]string{"", "", "n1", "n2"}).Draw(t, "nodes")),
			Conditions: rapid.SampledFrom([]cluster.Conditions{ready, ready, draining, terminating, cluster.Serving, 0, cluster.Ready | cluster.Terminating, ready | cluster.Additional}).Draw(t, "conditions"),
			Pod:        rapid.SampledFrom([]cluster.PodID{0, 0, 1, 2}).Draw(t, "ID of the pod"),
		})
	}
	return s
}

func randomNode(t *rapid.T) (Node, Host) {
	pods := rapid.SampledFrom([]Pods{
		{}, {CIDRs: prefixes("10.0.0.0/8")}, {CIDRs: prefixes("10.0.0.0/8,fd00:10::/64")}, {Interface: "cni0"}, {Prefix: "cali"},
	}).Draw(t, "pods")
	own := addrs("192.168.0.2", "2001:db8::1")
	n := Node{
		Name: cluster.MakeAtom("n1"), Zone: cluster.MakeAtom(rapid.SampledFrom([]string{"", "zone-a", "zone-c"}).Draw(t, "zone")),
		Addrs: own, Pods: pods, MasqueradeAll: rapid.Bool().Draw(t, "masqueradeAll"),
	}
	cidrs := some(t, prefixes("172.30.0.0/16,fd00:96::/64,192.0.2.0/24"), 2, "service CIDRs")
	n.Guard = Guard{
		ServiceCIDRs: cidrs, Known: own, Machine: append(own[:2:2], netip.MustParseAddr("2001:db8:9::4"))[1:],
		Others: some(t, addrs("1.2.3.4"), 1, "other nodes"), Ports: some(t, []Port{{53, 0}, {80, cluster.TCP}, {30000, cluster.UDP}, {30001, 0}}, 1, "node's ports"),
		API: some(t, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:80"), netip.MustParseAddrPort("192.168.0.2:30000")}, 1, "API servers"),
	}
	return n, Host{
		Pods: pods, Addrs: append(own, netip.MustParseAddr("1.2.3.4")),
		NodePortAddrs:    some(t, slices.Concat(twinVIPs[2:], twinVIPs6[2:]), 4, "NodePort addresses"),
		NodePortLoopback: rapid.Bool().Draw(t, "loopback"),
		ServiceCIDRs:     cidrs,
		DropsUnused:      true,
	}
}

func randomPacket(t *rapid.T) Packet {
	clients, vips := twinClients, slices.Concat(twinVIPs, addrs("172.30.0.9", "127.0.0.1", "8.8.8.8"))
	if rapid.IntRange(0, 3).Draw(t, "IPv6 packet") == 0 {
		clients, vips = twinOthers6, slices.Concat(twinVIPs6, addrs("fd00:96::9", "::1"))
	}
	return Packet{
		Source: rapid.SampledFrom(clients).Draw(t, "source"),
		In:     rapid.SampledFrom([]string{"", "cni0", "cali1", "eth0"}).Draw(t, "in"),
		Destination: netip.AddrPortFrom(rapid.SampledFrom(vips).Draw(t, "to"),
			rapid.SampledFrom([]uint16{80, 53, 30000, 30001, 81}).Draw(t, "port")),
		Protocol: rapid.SampledFrom([]cluster.Protocol{cluster.TCP, cluster.TCP, cluster.UDP, cluster.SCTP}).Draw(t, "protocol"),
	}
}

// toRoute leads most packets to where a frontend is.
func toRoute(t *rapid.T, table *Table, p Packet) Packet {
	var routes []*Route
	for r := range table.All() {
		if r.Addr.Is4() == p.Source.Is4() && !r.IsNodePort() && !r.IsOtherPorts() {
			routes = append(routes, r)
		}
	}
	if len(routes) == 0 || rapid.IntRange(0, 3).Draw(t, "anywhere") == 0 {
		return p
	}
	slices.SortFunc(routes, func(a, b *Route) int { return a.Compare(b.Frontend) })
	r := rapid.SampledFrom(routes).Draw(t, "route")
	p.Destination, p.Protocol = netip.AddrPortFrom(r.Addr, r.Port), r.Protocol
	return p
}

// TestTwin changes objects, the node and the host at random, keeps a table by what a
// Store tells of, and asks it and the twin about random packets.
func TestTwin(t *testing.T) {
	outcomes := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := &twin{services: map[cluster.Key]*cluster.Service{}, slices: map[cluster.Key]rawSlice{}}
		store, table := cluster.NewStore(), NewTable()
		sub := store.Subscribe()
		w.node, w.host = randomNode(t)
		for version := range uint64(rapid.IntRange(5, 16).Draw(t, "steps")) {
			step := []int{3, 9, 9, 3}[min(version, 3)] // first there must be something
			if version > 3 {
				step = rapid.IntRange(0, 9).Draw(t, "step")
			}
			switch step {
			case 0:
				k := cluster.Key{Namespace: "ns", Name: rapid.SampledFrom(twinNames).Draw(t, "gone")}
				delete(w.services, k)
				store.Delete(0, cluster.Ref{Kind: cluster.KindService, Key: k})
			case 1:
				k := cluster.Key{Namespace: "ns", Name: rapid.SampledFrom([]string{"s1", "s2"}).Draw(t, "gone")}
				delete(w.slices, k)
				store.Delete(0, cluster.Ref{Kind: cluster.KindSlice, Key: k})
			case 2:
				w.node, w.host = randomNode(t)
				for k := range w.services {
					table.Set(k, Build(store.Service(k.Namespace, k.Name), w.node))
				}
			case 3, 4, 5:
				s := randomService(t)
				w.services[s.Key] = s
				store.Put(0, s)
			default:
				s := randomSlice(t, version)
				key := cluster.Key{Namespace: "ns", Name: s.name}
				w.slices[key] = s
				store.Put(0, cluster.NewSlice(key, s.service, s.version, s.ports, slices.Clone(s.list)))
			}
			for _, r := range sub.Take() {
				table.Set(r.Key, Build(store.Service(r.Key.Namespace, r.Key.Name), w.node))
			}
			for range 12 {
				p := toRoute(t, table, randomPacket(t))
				x := table.Explain(&w.host, p)
				got, want := short(x), w.ask(p)
				if got != want {
					t.Fatalf("%v by %q\ngot  %s\nwant %s\n%vin\n%v", p, p.In, got, want, x.String(), table)
				}
				outcomes[fmt.Sprint(x.Action, x.Class, len(x.Answers) > 0 && x.Answers[0].Masquerade)]++
			}
		}
	})
	if testing.Verbose() {
		t.Log(outcomes)
	}
	if len(outcomes) < 12 && !t.Failed() {
		t.Errorf("the packets met only %v", outcomes)
	}
}
