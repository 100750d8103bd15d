package iptables

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/vip"
)

// varied are Services with a ClusterIP, a NodePort and an address of a load balancer each, so that
// every kind of chain is there.
func varied(services int) []*vip.Route {
	var list []*vip.Route
	for i := range services {
		inside := serviceRoute(i, 0)
		port := *inside
		port.Kind, port.Frontend = vip.NodePort, vip.Frontend{Addr: vip.AnyNode4, Port: uint16(30000 + i), Protocol: inside.Protocol}
		port.Local = inside.Cluster[:2]
		port.Policy = vip.ExternalLocal
		balancer := port
		balancer.Kind, balancer.Frontend = vip.LoadBalancer, vip.Frontend{Addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), Port: 80, Protocol: inside.Protocol}
		balancer.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		list = append(list, inside, &port, &balancer)
	}
	return list
}

// leadsTo is where a rule sends packets.
func leadsTo(rule string) string {
	_, target, _ := strings.Cut(rule, "-j ")
	if _, goes, found := strings.Cut(rule, "-g "); found {
		target = goes
	}
	name, _, _ := strings.Cut(target, " ")
	return name
}

// A script that is cut writes the same chains, in pieces of which none leads to a chain that is
// not there, and none is larger than allowed.
func TestCut(t *testing.T) {
	host := testHost // no single rule matches all but its pods, so that ClusterIPs need a chain of their own
	host.Pods.CIDRs = append([]netip.Prefix{netip.MustParsePrefix("10.245.0.0/16")}, testHost.Pods.CIDRs...)
	rules := newRuleset(&host, true, false)
	var all []vip.Change
	for _, r := range varied(40) {
		all = append(all, vip.Change{Frontend: r.Frontend, New: r})
	}
	rules.change(all)
	kinds := map[int]bool{}
	for c := range rules.tables() {
		kinds[depth(c)] = true
	}
	if len(kinds) != len(ofPorts)+1 {
		t.Errorf("chains of %d kinds, want all of %q and those that are shared", len(kinds), ofPorts)
	}
	whole := rules.repair(listing{}, rules.tables())
	for _, most := range []int{1, 7, 50, 10_000} {
		there, written := map[chain]bool{}, map[chain][]string{}
		pieces := whole.cut(most)
		for n, piece := range pieces {
			for table, p := range piece {
				own, _ := divide(p.write)
				if len(own) > most {
					t.Errorf("at most %d: piece %d has %d chains of ports", most, n, len(own))
				}
				for _, c := range p.write {
					there[c] = true
				}
				for _, c := range p.write {
					written[c] = p.rules[c]
					for _, r := range p.rules[c] {
						if to := leadsTo(r); strings.HasPrefix(to, "KUBE-") && !there[chain{table, to}] {
							t.Errorf("at most %d: in piece %d %v leads to %s, which is not there yet", most, n, c, to)
						}
					}
				}
				if n < len(pieces)-1 && len(p.insert)+len(p.remove)+len(p.drop) > 0 {
					t.Errorf("at most %d: piece %d changes more than chains of ports", most, n)
				}
			}
		}
		want := map[chain][]string{}
		for _, p := range whole {
			for _, c := range p.write {
				want[c] = p.rules[c]
			}
		}
		if !maps.EqualFunc(written, want, slices.Equal) {
			t.Errorf("at most %d: %d chains are written, want %d", most, len(written), len(want))
		}
	}
}
