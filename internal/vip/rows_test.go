package vip

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// rowIDs are what testdata/rows.txt must have, no more and no less: what kube-proxy's
// own tests say about packets (section by section), and what they do not say (GA).
var rowIDs = slices.Concat(
	ids("NE", 1, 6), ids("CG", 1, 12), ids("LB", 1, 17), []string{"LB14a", "LB15a", "LB15b"}, ids("NP", 1, 20),
	ids("EL", 1, 10), ids("EC", 1, 7), ids("IT", 1, 5),
	ids("TL", 1, 5), ids("TC", 1, 5), []string{"TL1x", "TL2x", "TL3x", "TL4x", "TL5x", "TC1x", "TC2x", "TC3x", "TC4x", "TC5x"},
	ids("HC", 1, 2), ids("TP", 1, 9), ids("IM", 1, 3), ids("OV", 1, 10), ids("KS", 1, 13), ids("IP", 1, 4), ids("GA", 1, 30), ids("SA", 1, 9),
)

func ids(prefix string, from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, prefix+strconv.Itoa(i))
	}
	return list
}

func TestRows(t *testing.T) {
	text, err := os.ReadFile("testdata/rows.txt")
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	var s *scene
	for number, line := range strings.Split(string(text), "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		where := fmt.Sprintf("rows.txt:%d: %s", number+1, line)
		if words[0] == "state" {
			s = newScene(t)
			continue
		}
		before, want, row := strings.Cut(line, " =>")
		if !row {
			s.do(where, words)
			continue
		}
		id := words[0]
		seen = append(seen, id)
		t.Run(id, func(t *testing.T) {
			x := s.table().Explain(&s.host, s.packet(where, strings.TrimPrefix(before, id)))
			if got := short(x); got != strings.TrimSpace(want) {
				t.Errorf("%s\ngot %s\n%sin\n%v", where, got, x.String(), s.table())
			}
		})
	}
	slices.Sort(seen)
	slices.Sort(rowIDs)
	if !slices.Equal(seen, rowIDs) {
		t.Errorf("rows\n%v\nwant\n%v", seen, rowIDs)
	}
}

// short is an explanation in the words of rows.txt.
func short(x Explanation) string {
	switch {
	case x.Action == Reject:
		return "REJECT"
	case x.Action == Drop:
		return "DROP"
	case x.Action == Accept && x.Route != nil:
		return "ACCEPT"
	case x.Action == Accept:
		return ""
	}
	text := ""
	for i, a := range x.Answers {
		first := i == 0 || x.Answers[i-1].Masquerade != a.Masquerade
		last := i+1 == len(x.Answers) || x.Answers[i+1].Masquerade != a.Masquerade
		if first {
			text += " {"
		} else {
			text += " "
		}
		text += a.AddrPort.String()
		if last {
			text += "} " + map[bool]string{true: "m", false: "-"}[a.Masquerade]
		}
	}
	return strings.TrimSpace(text)
}

// scene is a state: objects in a Store, this node and its host.
type scene struct {
	t     *testing.T
	store *cluster.Store
	node  Node
	host  Host
	count int // slices so far, and their versions
}

func newScene(t *testing.T) *scene {
	pods := Pods{CIDRs: prefixes("10.0.0.0/8,fd00:10::/64")}
	return &scene{
		t: t, store: cluster.NewStore(),
		node: Node{Name: cluster.MakeAtom("test-node"), Addrs: addrs("192.168.0.2", "2001:db8::1"), Pods: pods},
		host: Host{
			Pods: pods, Addrs: addrs("192.168.0.2", "192.168.1.2", "192.168.99.11", "2001:db8::1", "2001:db8:1::2", "1.2.3.4"),
			NodePortAddrs: addrs("192.168.0.2", "2001:db8::1"), ServiceCIDRs: prefixes("172.30.0.0/16,fd00:10:96::/112"), DropsUnused: true,
		},
	}
}

// aliases are the hosts of the rows.
var aliases = map[string]string{
	"P": "10.0.0.2", "N": "192.168.0.2", "X": "203.0.113.2", "XB": "203.0.113.130",
	"P6": "fd00:10::2", "N6": "2001:db8::1", "X6": "2600:5200::1",
}

func (s *scene) table() *Table {
	t := NewTable()
	for e := range s.store.Services() {
		t.Set(e.Service.Key, Build(e, s.node))
	}
	return t
}

func (s *scene) packet(where, text string) Packet {
	from, to, ok := strings.Cut(strings.TrimSpace(text), " > ")
	from, in, _ := strings.Cut(from, "@")
	to, protocol, named := strings.Cut(to, "/")
	if !named {
		protocol = "tcp"
	}
	for alias, a := range aliases {
		if from == alias {
			from = a
		}
		if port, is := strings.CutPrefix(to, alias+":"); is {
			to = netip.AddrPortFrom(netip.MustParseAddr(a), number(port)).String()
		}
	}
	source, err := netip.ParseAddr(from)
	destination, err2 := netip.ParseAddrPort(to)
	if !ok || err != nil || err2 != nil {
		s.t.Fatalf("%s: want FROM > TO", where)
	}
	return Packet{Source: source, In: in, Destination: destination, Protocol: protocolOf(protocol)}
}

func (s *scene) do(where string, words []string) {
	switch words[0] {
	case "service":
		s.service(where, words[1:])
	case "endpoints":
		s.endpoints(words[1:])
	case "host":
		s.host.NodePortLoopback = false
		s.words(where, words[1:], map[string]func(string){
			"pods":       func(v string) { s.host.Pods.CIDRs = prefixes(v); s.node.Pods = s.host.Pods },
			"bridge":     func(v string) { s.host.Pods = Pods{Interface: v}; s.node.Pods = s.host.Pods },
			"prefix":     func(v string) { s.host.Pods = Pods{Prefix: v}; s.node.Pods = s.host.Pods },
			"nodeports":  func(v string) { s.host.NodePortAddrs = addrs(list(v)...) },
			"cidrs":      func(v string) { s.host.ServiceCIDRs = prefixes(v) },
			"loopback":   func(string) { s.host.NodePortLoopback = true },
			"everywhere": func(string) { s.host.NodePortAll4, s.host.NodePortAll6 = true, true },
		})
	case "node":
		s.words(where, words[1:], map[string]func(string){
			"masquerade-all": func(string) { s.node.MasqueradeAll = true },
			"zone":           func(v string) { s.node.Zone = cluster.MakeAtom(v) },
			"name":           func(v string) { s.node.Name = cluster.MakeAtom(v) },
		})
	default:
		s.t.Fatalf("%s: unknown", where)
	}
}

// words calls for each NAME=VALUE what is to be done.
func (s *scene) words(where string, words []string, do map[string]func(string)) {
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		if do[name] == nil {
			s.t.Fatalf("%s: %q is unknown", where, w)
		}
		do[name](value)
	}
}

func (s *scene) service(where string, words []string) {
	svc := &cluster.Service{Key: cluster.Key{Namespace: "ns", Name: words[0]}, External: &cluster.External{}}
	x := svc.External
	switch words[1] {
	case "None":
		svc.Headless = true
	case "ExternalName":
		svc.Type, x.Name = cluster.ExternalName, "example.org"
	case "-":
	default:
		svc.ClusterIPs = addrs(list(words[1])...)
	}
	s.words(where, words[2:], map[string]func(string){
		"external":  func(v string) { x.IPs = addrs(list(v)...) },
		"lb":        func(v string) { x.LB, svc.Type = addrs(list(v)...), cluster.LoadBalancer },
		"proxied":   func(v string) { x.Proxied = addrs(list(v)...) },
		"sources":   func(v string) { x.Sources = prefixes(v) },
		"etp":       func(v string) { svc.ExternalLocal = v == "Local" },
		"itp":       func(v string) { svc.InternalLocal = v == "Local" },
		"check":     func(v string) { x.HealthCheckPort = number(v) },
		"affinity":  func(v string) { x.Affinity = uint32(number(v)) },
		"scheduler": func(v string) { x.Scheduler = v },
		"created":   func(v string) { svc.Created = uint32(number(v)) },
		"port": func(v string) {
			parts := strings.Split(v, ":")
			n, protocol, _ := strings.Cut(parts[1], "/")
			p := cluster.ServicePort{Name: parts[0], Number: number(n), Protocol: protocolOf(protocol)}
			if len(parts) > 2 {
				p.NodePort = number(parts[2])
			}
			svc.Ports = append(svc.Ports, p)
		},
	})
	s.store.Put(0, svc)
}

func (s *scene) endpoints(words []string) {
	var ports []cluster.Port
	for _, p := range list(words[1]) {
		name, rest, _ := strings.Cut(p, ":")
		n, protocol, _ := strings.Cut(rest, "/")
		ports = append(ports, cluster.Port{Name: name, Number: number(n), Protocol: protocolOf(protocol)})
	}
	var eps []cluster.Endpoint
	for _, w := range words[2:] {
		w, hints, _ := strings.Cut(w, "~")
		w, conditions, some := strings.Cut(w, "!")
		a, where, _ := strings.Cut(w, "@")
		zones, nodes, _ := strings.Cut(hints, "/")
		ep := cluster.Endpoint{Addr: netip.MustParseAddr(a), Node: cluster.MakeAtom("other-node"), Conditions: ready,
			ForZones: cluster.MakeAtom(zones), ForNodes: cluster.MakeAtom(nodes)}
		if where == "local" {
			ep.Node = s.node.Name
		}
		if some {
			ep.Conditions = 0
			for _, c := range conditions {
				ep.Conditions |= map[rune]cluster.Conditions{'r': cluster.Ready, 's': cluster.Serving, 't': cluster.Terminating}[c]
			}
		}
		eps = append(eps, ep)
	}
	s.count++
	key := cluster.Key{Namespace: "ns", Name: fmt.Sprintf("%s-%d", words[0], s.count)}
	s.store.Put(0, cluster.NewSlice(key, cluster.Key{Namespace: "ns", Name: words[0]}, uint64(s.count), ports, eps))
}

func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func prefixes(text string) (out []netip.Prefix) {
	for _, p := range list(text) {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func number(text string) uint16 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		panic(err)
	}
	return uint16(n)
}

func protocolOf(name string) cluster.Protocol {
	for _, p := range []cluster.Protocol{cluster.TCP, cluster.UDP, cluster.SCTP} {
		if p.String() == name {
			return p
		}
	}
	return cluster.Protocol(number(name))
}
