package node

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

func addrs(text string) []netip.Addr {
	var out []netip.Addr
	for _, s := range strings.Fields(text) {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

func cidrs(text string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range strings.Fields(text) {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestNodePortAddrs(t *testing.T) {
	const machine = "127.0.0.1 192.0.2.7 10.244.1.1 ::1 2001:db8::7 fe80::7"
	for _, c := range []struct {
		name    string
		choice  NodePorts
		primary string
		want    string
	}{
		{"primary, both families", NodePorts{Primary: true}, "192.0.2.7 2001:db8::7", "192.0.2.7 2001:db8::7"},
		{"primary, one family", NodePorts{Primary: true}, "192.0.2.7", "192.0.2.7"},
		{"primary that the machine does not have", NodePorts{Primary: true}, "198.51.100.1", ""},
		{"primary of a node without addresses", NodePorts{Primary: true}, "", "10.244.1.1 192.0.2.7 2001:db8::7"},
		{"all", NodePorts{All: true}, "192.0.2.7", "10.244.1.1 192.0.2.7 2001:db8::7"},
		{"nothing said", NodePorts{}, "192.0.2.7", "10.244.1.1 192.0.2.7 2001:db8::7"},
		{"one family listed: all of the other", NodePorts{CIDRs: cidrs("192.0.2.0/24")}, "", "192.0.2.7 2001:db8::7"},
		{"both families listed", NodePorts{CIDRs: cidrs("192.0.2.0/24 2001:db8::/32")}, "", "192.0.2.7 2001:db8::7"},
		{"listed, nothing there", NodePorts{CIDRs: cidrs("198.51.100.0/24 2001:db8:1::/48")}, "", ""},
		{"everything of a family", NodePorts{CIDRs: cidrs("0.0.0.0/0 2001:db8:1::/48")}, "", "10.244.1.1 192.0.2.7"},
		{"everything", NodePorts{CIDRs: cidrs("0.0.0.0/0 ::/0")}, "", "10.244.1.1 192.0.2.7 2001:db8::7"},
		{"link-local by name", NodePorts{CIDRs: cidrs("fe80::/64 192.0.2.0/24")}, "", "192.0.2.7 fe80::7"},
		{"loopback by name", NodePorts{CIDRs: cidrs("127.0.0.0/8 ::1/128")}, "", ""},
		{"primary and a network", NodePorts{Primary: true, CIDRs: cidrs("10.244.0.0/16")}, "192.0.2.7", "10.244.1.1 192.0.2.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fmt.Sprint(c.choice.Addrs(addrs(machine), addrs(c.primary))); got != fmt.Sprint(addrs(c.want)) {
				t.Errorf("got %s, want %s", got, addrs(c.want))
			}
		})
	}
}

func TestPrimary(t *testing.T) {
	for _, c := range []struct{ name, node, override, want string }{
		{"one family", "192.0.2.7", "0.0.0.0", "192.0.2.7"},
		{"the first of each family", "2001:db8::7 192.0.2.7 2001:db8::8 192.0.2.8", "0.0.0.0", "2001:db8::7 192.0.2.7"},
		{"none", "", "0.0.0.0", ""},
		{"said by the user", "192.0.2.7 2001:db8::7", "192.0.2.9", "192.0.2.9 2001:db8::7"},
		{"said by the user alone", "", "2001:db8::9", "2001:db8::9"},
		{"unspecified IPv6", "192.0.2.7", "::", "192.0.2.7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Primary(&cluster.Node{Addrs: addrs(c.node)}, netip.MustParseAddr(c.override))
			if fmt.Sprint(got) != fmt.Sprint(addrs(c.want)) {
				t.Errorf("got %s, want %s", got, addrs(c.want))
			}
		})
	}
	if got := Primary(nil, netip.Addr{}); got != nil {
		t.Errorf("no Node: got %s", got)
	}
}

func TestSysctls(t *testing.T) {
	for _, c := range []struct {
		name     string
		tracking Tracking
		cpus     int
		want     string
	}{
		{"nothing", Tracking{}, 4, "[net.ipv4.ip_forward = 1]"},
		{"least without cores", Tracking{Min: 7}, 4, "[net.ipv4.ip_forward = 1]"},
		{"by cores", Tracking{MaxPerCore: 32768, Min: 131072}, 8, "[net.ipv4.ip_forward = 1 net.netfilter.nf_conntrack_max = 262144]"},
		{"at least", Tracking{MaxPerCore: 32768, Min: 131072}, 2, "[net.ipv4.ip_forward = 1 net.netfilter.nf_conntrack_max = 131072]"},
		{"at most", Tracking{MaxPerCore: 32768, Min: 131072}, 128, "[net.ipv4.ip_forward = 1 net.netfilter.nf_conntrack_max = 1048576]"},
		{"more than that at least", Tracking{MaxPerCore: 32768, Min: 2000000}, 128, "[net.ipv4.ip_forward = 1 net.netfilter.nf_conntrack_max = 2000000]"},
		{"times", Tracking{TCPEstablished: time.Hour, TCPCloseWait: time.Minute, UDP: time.Second, UDPStream: 2500 * time.Millisecond, TCPBeLiberal: true}, 1,
			"[net.ipv4.ip_forward = 1 net.netfilter.nf_conntrack_tcp_timeout_established = 3600 net.netfilter.nf_conntrack_tcp_timeout_close_wait = 60" +
				" net.netfilter.nf_conntrack_udp_timeout = 1 net.netfilter.nf_conntrack_udp_timeout_stream = 2 net.netfilter.nf_conntrack_tcp_be_liberal = 1]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fmt.Sprint(c.tracking.Sysctls(c.cpus)); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestCountCPUs(t *testing.T) {
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0-1,4": 3, "0,2,4-7": 6, "": -1, "a": -1, "3-1": -1, "0-": -1, "0-99999999": -1} {
		got, err := countCPUs(list)
		if want < 0 && err == nil || want >= 0 && got != want {
			t.Errorf("%q: %d, %v; want %d", list, got, err, want)
		}
	}
}

func TestName(t *testing.T) {
	if got, err := Name(" Node-7\n"); got != "node-7" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	got, err := Name("")
	if err != nil || got == "" || got != strings.ToLower(got) {
		t.Errorf("the machine's name: %q, %v", got, err)
	}
}
