package vip

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// A ServiceCIDR is not enforced where it overlaps addresses in use, whatever the use. A route that
// someone added counts only where it is narrower.
func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		name, cidr, network string
		overlaps, asRoute   bool
	}{
		{"inside", "10.96.0.0/12", "10.110.158.0/24", true, true},
		{"containing", "10.96.0.0/12", "10.0.0.0/8", true, false},
		{"everything", "10.96.0.0/12", "0.0.0.0/0", true, false},
		{"equal", "10.96.0.0/12", "10.96.0.0/12", true, false},
		{"one address", "10.96.0.0/12", "10.96.3.4/32", true, true},
		{"adjacent above", "10.96.0.0/12", "10.112.0.0/12", false, false},
		{"adjacent below", "10.96.0.0/12", "10.95.255.0/24", false, false},
		{"elsewhere", "10.96.0.0/12", "192.168.0.0/16", false, false},
		{"the other family", "10.96.0.0/12", "fd00::/16", false, false},
		{"IPv6, inside", "fd00:96::/112", "fd00:96::ff00/120", true, true},
		{"IPv6, containing", "fd00:96::/112", "fd00::/16", true, false},
		{"IPv6, equal", "fd00:96::/112", "fd00:96::/112", true, false},
		{"IPv6, the other family", "fd00:96::/112", "10.0.0.0/8", false, false},
		{"IPv6, adjacent", "fd00:96::/112", "fd00:96::1:0/112", false, false},
	} {
		cidr, other := prefixes(tt.cidr)[0], prefixes("2001:db8::/64")[0] // of the other family
		if !cidr.Addr().Is4() {
			other = prefixes("192.0.2.0/24")[0]
		}
		for _, use := range []Use{NodeAddress, PodNetwork, ConnectedNetwork, EndpointAddress, LinkRoute} {
			n := Network{prefixes(tt.network)[0], use}
			var want []Overlap
			if use == LinkRoute && tt.asRoute || use != LinkRoute && tt.overlaps {
				want = []Overlap{{cidr, n}}
			}
			if got := Overlaps([]netip.Prefix{other, cidr}, []Network{n}); !slices.Equal(got, want) {
				t.Errorf("%s: %v in %s: %v, want %v", tt.name, n, tt.cidr, got, want)
			}
			h := Host{ServiceCIDRs: []netip.Prefix{other, cidr}, Overlaps: want, DropsUnused: true}
			left := 2 - len(want)
			if got := h.Enforced(); len(got) != left || got[0] != other {
				t.Errorf("%s: %v in %s: %v are enforced", tt.name, n, tt.cidr, got)
			}
		}
	}
	first := []Network{{prefixes("10.97.0.0/16")[0], PodNetwork}, {prefixes("10.98.0.0/16")[0], ConnectedNetwork}}
	if got := Overlaps(prefixes("10.96.0.0/12"), first); len(got) != 1 || got[0].With != first[0] {
		t.Errorf("overlaps %v, want one, with the first", got)
	}
}

// Explain tells what a mode does with an address that no Service has, and why.
func TestExplainUnused(t *testing.T) {
	table := NewTable()
	web := &Route{Frontend: Frontend{addrs("10.96.0.20")[0], 80, cluster.TCP}, Owner: Owner{Service: cluster.Key{Namespace: "shop", Name: "web"}}}
	rest := &Route{Frontend: Frontend{Addr: addrs("10.96.0.20")[0]}, Kind: OtherPorts, Owner: web.Owner, Policy: RejectAll}
	external := &Route{Frontend: Frontend{addrs("203.0.113.7")[0], 80, cluster.TCP}, Kind: ExternalIP, Owner: web.Owner}
	own := &Route{Frontend: Frontend{addrs("10.110.158.11")[0], 80, cluster.TCP}, Kind: ExternalIP, Owner: web.Owner}
	table.Set(web.Owner.Service, []*Route{rest, web, external, own})
	drops := Host{ServiceCIDRs: prefixes("10.96.0.0/12"), DropsUnused: true, Addrs: addrs("10.110.158.11")}
	overlapped, leaves, binds := drops, drops, drops
	overlapped.Overlaps = Overlaps(drops.ServiceCIDRs, []Network{{prefixes("10.110.158.0/24")[0], ConnectedNetwork}})
	leaves.DropsUnused = false
	binds.BindsExternal = true
	for _, tt := range []struct {
		name string
		host Host
		to   string
		want Action
		says string
	}{
		{"unused", drops, "10.96.0.99:80", Drop, "10.96.0.99 is in a range of cluster IPs and belongs to no Service"},
		{"unused, in another mode", leaves, "10.96.0.99:80", Accept, "left alone: this mode does not drop"},
		{"unused, not enforced", overlapped, "10.96.0.99:80", Accept, "the range 10.96.0.0/12 overlaps the connected network 10.110.158.0/24"},
		{"another node", overlapped, "10.110.158.12:6443", Accept, "the range 10.96.0.0/12 overlaps the connected network 10.110.158.0/24"},
		{"this node", drops, "10.110.158.11:10250", Accept, "no Service has 10.110.158.11 port 10250/tcp on this node"},
		{"this node, an external IP", binds, "10.110.158.11:10250", Accept, "no Service has 10.110.158.11 port 10250/tcp on this node"},
		{"another port", overlapped, "10.96.0.20:81", Reject, "has no port 81/tcp"},
		{"elsewhere", drops, "192.0.2.1:80", Accept, "no Service has 192.0.2.1"},
		{"another port of an external IP", drops, "203.0.113.7:81", Accept, "no Service has 203.0.113.7"},
		{"the same where it is the node's own", binds, "203.0.113.7:81", Reject, "this mode makes external addresses the node's own"},
	} {
		x := table.Explain(&tt.host, Packet{Source: addrs("10.244.1.2")[0], Destination: netip.MustParseAddrPort(tt.to), Protocol: cluster.TCP})
		if x.Action != tt.want || !strings.Contains(x.String(), tt.says) {
			t.Errorf("%s: want %v and %q, got\n%v", tt.name, tt.want, tt.says, x.String())
		}
	}
}
