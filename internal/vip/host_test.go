package vip

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func TestClass(t *testing.T) {
	own := addrs("192.168.0.2", "10.244.1.1", "2001:db8::1")
	cidrs := Pods{CIDRs: prefixes("10.244.0.0/16,fd00:10::/48")}
	tests := []struct {
		name   string
		pods   Pods
		source string
		in     string
		want   Class
	}{
		{"a pod", cidrs, "10.244.1.2", "cni0", FromPod},
		{"a pod, IPv6", cidrs, "fd00:10::2", "", FromPod},
		{"the node's bridge to its pods: as kube-proxy has it", cidrs, "10.244.1.1", "", FromPod},
		{"the node", cidrs, "192.168.0.2", "", FromNode},
		{"the node by itself", cidrs, "127.0.0.1", "", FromNode},
		{"another node", cidrs, "192.168.0.3", "eth0", FromOutside},
		{"a pod that nobody tells", Pods{}, "10.244.1.2", "cni0", FromOutside},
		{"by a bridge", Pods{Interface: "cni0"}, "203.0.113.1", "cni0", FromPod},
		{"by another", Pods{Interface: "cni0"}, "10.244.1.2", "cni01", FromOutside},
		{"the node has no interface", Pods{Interface: "cni0"}, "192.168.0.2", "", FromNode},
		{"by a name's beginning", Pods{Prefix: "cali"}, "203.0.113.1", "cali17", FromPod},
		{"by another's", Pods{Prefix: "cali"}, "203.0.113.1", "eth0", FromOutside},
		{"the node has no name", Pods{Prefix: "cali"}, "192.168.0.2", "", FromNode},
	}
	for _, tt := range tests {
		h := Host{Pods: tt.pods, Addrs: own}
		if got := h.Class(netip.MustParseAddr(tt.source), tt.in); got != tt.want {
			t.Errorf("%s: from %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPodsTell(t *testing.T) {
	tests := []struct {
		pods   Pods
		v4, v6 bool
		text   string
	}{
		{Pods{}, false, false, "not told"},
		{Pods{CIDRs: prefixes("10.0.0.0/8")}, true, false, "in 10.0.0.0/8"},
		{Pods{CIDRs: prefixes("fd00::/8")}, false, true, "in fd00::/8"},
		{Pods{Interface: "cni0"}, true, true, "by cni0"},
		{Pods{Prefix: "cali"}, true, true, "by cali*"},
	}
	for _, tt := range tests {
		if v4, v6 := tt.pods.Tell(true), tt.pods.Tell(false); v4 != tt.v4 || v6 != tt.v6 || tt.pods.String() != tt.text {
			t.Errorf("%+v: %v %v %q, want %v %v %q", tt.pods, v4, v6, tt.pods.String(), tt.v4, tt.v6, tt.text)
		}
	}
}

// other gives a field another value than it has.
func other(t *testing.T, v reflect.Value) {
	t.Helper()
	switch p := v.Addr().Interface().(type) {
	case *[]netip.Addr:
		*p = append(*p, netip.MustParseAddr("192.0.2.77"))
	case *[]netip.Prefix:
		*p = append(*p, netip.MustParsePrefix("192.0.2.77/32"))
	case *[]Overlap:
		*p = append(*p, Overlap{CIDR: netip.MustParsePrefix("10.96.0.0/12")})
	case *[]Backend:
		*p = append(*p, Backend{Local: true})
	case *cluster.Atom:
		*p = cluster.MakeAtom("another")
	case *string:
		*p += "x"
	case *bool:
		*p = !*p
	case *Pods:
		p.Prefix += "x"
	case *Frontend:
		p.Port++
	case *Owner:
		p.Port += "x"
	case *Policy:
		*p++
	case *Kind:
		*p++
	case *uint32:
		*p++
	case *int:
		*p++
	case *int64:
		*p++
	case *Guard:
		p.Ports = append(p.Ports, Port{})
	default:
		t.Fatalf("a field of type %v: teach this test to change it", v.Type())
	}
}

// Whatever a type comes to hold, its Equal looks at it, but for what is excepted.
func TestEqualSeesEveryField(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func() any
		equal  func(a, b any) bool
		except string
	}{
		{"Host", func() any { return &Host{ServiceCIDRs: prefixes("10.96.0.0/12"), DropsUnused: true} },
			func(a, b any) bool { return a.(*Host).Equal(b.(*Host)) }, "Addrs BindsExternal NodePortRelay"},
		{"Node", func() any { return &Node{} }, func(a, b any) bool { return a.(*Node).Equal(b.(*Node)) }, ""},
		{"Pods", func() any { return &Pods{} }, func(a, b any) bool { return a.(*Pods).Equal(*b.(*Pods)) }, ""},
		{"Route", func() any { return &Route{} }, func(a, b any) bool { return a.(*Route).equal(b.(*Route)) }, "Created"},
	} {
		if !c.equal(c.make(), c.make()) {
			t.Errorf("%s: two zero ones differ", c.name)
		}
		for i := range reflect.TypeOf(c.make()).Elem().NumField() {
			changed := c.make()
			field := reflect.TypeOf(changed).Elem().Field(i).Name
			other(t, reflect.ValueOf(changed).Elem().Field(i))
			excepted := slices.Contains(strings.Fields(c.except), field)
			if c.equal(c.make(), changed) != excepted {
				t.Errorf("%s.%s: equal %v", c.name, field, !excepted)
			}
		}
	}
	if r := (&Route{Sources: []netip.Prefix{}}); r.equal(&Route{}) {
		t.Error("a route for nobody equals one for everybody")
	}
}

// merged has the same addresses in it, sorted, in as few networks as possible.
func TestMerged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []netip.Prefix
		for range rapid.IntRange(0, 8).Draw(t, "networks") { // of 16 addresses: 192.0.2.0 to 192.0.2.15
			a := netip.AddrFrom4([4]byte{192, 0, 2, rapid.Byte().Draw(t, "address") % 16})
			list = append(list, netip.PrefixFrom(a, rapid.IntRange(28, 32).Draw(t, "bits")))
		}
		got := merged(list)
		for i := range byte(16) {
			a := netip.AddrFrom4([4]byte{192, 0, 2, i})
			if inAny(got, a) != inAny(list, a) {
				t.Fatalf("%v of %v: %v in it %v", got, list, a, inAny(got, a))
			}
		}
		for i, p := range got {
			if p != p.Masked() {
				t.Fatalf("%v of %v: %v has more bits than its network", got, list, p)
			}
			for _, q := range got[:i] {
				if q.Overlaps(p) || q.Compare(p) >= 0 || q.Bits() == p.Bits() && parent(q) == parent(p) {
					t.Fatalf("%v of %v: %v and %v", got, list, q, p)
				}
			}
		}
	})
	everything := prefixes("0.0.0.0/1,128.0.0.0/1")
	if got := merged(everything); len(got) != 1 || got[0].Bits() != 0 {
		t.Errorf("both halves are %v", got)
	}
}
