package iptables

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// many has Services of five backends.
func many(services int) *vip.Table {
	table := vip.NewTable()
	for i := range services {
		table.Set(serviceKey(i), []*vip.Route{serviceRoute(i, 0)})
	}
	return table
}

func serviceKey(i int) cluster.Key {
	return cluster.Key{Namespace: "default", Name: fmt.Sprintf("service-%d", i)}
}

// serviceRoute is the ClusterIP of a Service, in one of two versions that differ in one backend.
func serviceRoute(i, version int) *vip.Route {
	r := &vip.Route{
		Frontend: vip.Frontend{Addr: netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)}), Port: 80, Protocol: cluster.TCP},
		Owner:    vip.Owner{Service: serviceKey(i)},
	}
	r.Policy = vip.ClusterPods
	for b := range 5 {
		a := netip.AddrFrom4([4]byte{10, 128 + byte(b), byte(i >> 8), byte(i)})
		if b == 4 {
			a = netip.AddrFrom4([4]byte{10, 140 + byte(version), byte(i >> 8), byte(i)})
		}
		r.Cluster = append(r.Cluster, vip.Backend{AddrPort: netip.AddrPortFrom(a, 8080)})
	}
	return r
}

// A change of one Service is as many lines for the program however many others there are.
func TestChangeCost(t *testing.T) {
	lines := func(services int) string {
		rules := newRuleset(&testHost, true, false)
		table := many(services)
		rules.change(table.Additions())
		s := script{}
		for g, was := range rules.change(table.Set(serviceKey(3), []*vip.Route{serviceRoute(3, 1)})) {
			s.pieces(was, rules.pieces[g])
		}
		return s.String()
	}
	small, large := lines(10), lines(5000)
	if small != large {
		t.Errorf("among 10 Services:\n%s\namong 5,000:\n%s", small, large)
	}
	// The draw with its five lines and the new backend are written, the old one is deleted.
	if n := strings.Count(large, "\n"); n > 14 {
		t.Errorf("%d lines for one backend:\n%s", n, large)
	}
}

// Two lists are the same rules in any order and any way to print them, each as often.
func TestDiffer(t *testing.T) {
	const tcp, reordered, udp = "-d 10.96.0.1/32 -p tcp -m comment --comment web -m tcp --dport 80 -j A",
		"-d 10.96.0.1/32 -p tcp -m tcp --dport 80 -m comment --comment \"web\" -j A", "-d 10.96.0.1/32 -p udp -m udp --dport 80 -j A"
	for _, c := range []struct {
		name string
		a, b []string
		want bool
	}{
		{"none", nil, nil, false},
		{"same", []string{tcp, udp}, []string{tcp, udp}, false},
		{"another order", []string{tcp, udp}, []string{udp, tcp}, false},
		{"printed otherwise", []string{tcp, udp}, []string{udp, reordered}, false},
		{"printed in both ways", []string{tcp, reordered}, []string{reordered, tcp}, false},
		{"one is missing", []string{tcp}, []string{tcp, udp}, true},
		{"one is too many", []string{tcp, udp}, []string{tcp}, true},
		{"one is there twice", []string{tcp, reordered}, []string{tcp}, true},
		{"another", []string{tcp}, []string{udp}, true},
	} {
		if got := differ(c.a, c.b); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// What is looked at every syncPeriod on a node of 5,000 Services.
func BenchmarkCompareShared(b *testing.B) {
	rules := newRuleset(&testHost, true, false)
	rules.change(many(5000).Additions())
	there := listing(rules.shared())
	for b.Loop() {
		rules.repair(there, rules.shared())
	}
}

// Start from nothing, start on what is there, and one backend replaced, by the programs.
func BenchmarkDataplane(b *testing.B) {
	for _, tools := range installed(b) {
		for _, services := range []int{100, 1000, 5000} {
			table := many(services)
			b.Run(fmt.Sprintf("%s/services=%d", tools.Backend(), services), func(b *testing.B) {
				netlab.OwnNetwork(b)
				d := open(b, tools)
				b.Run("start", func(b *testing.B) {
					for range b.N {
						b.StopTimer()
						if _, err := Cleanup(b.Context()); err != nil {
							b.Fatal(err)
						}
						b.StartTimer()
						if err := d.Sync(b.Context(), testHost, table); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.Run("adopt", func(b *testing.B) {
					for range b.N {
						if err := d.Sync(b.Context(), testHost, table); err != nil {
							b.Fatal(err)
						}
					}
				})
				b.Run("replace", func(b *testing.B) {
					for i := range b.N {
						if _, err := d.Apply(b.Context(), table.Set(serviceKey(3), []*vip.Route{serviceRoute(3, 1+i%2)})); err != nil {
							b.Fatal(err)
						}
					}
				})
			})
		}
	}
}
