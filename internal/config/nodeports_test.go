package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestLoopbackNodePorts checks which words and networks make NodePorts work on loopback addresses, by rules for
// 127.0.0.0/8 (the bool) or by the process at single addresses, and that what does not work is noted.
func TestLoopbackNodePorts(t *testing.T) {
	const only = "NodePorts are served on no loopback addresses except 127.0.0.1 and ::1"
	for _, c := range []struct{ mode, list, want, note string }{
		{"iptables", "[localhost]", "{false false [127.0.0.0/8 ::1/128] true [::1]}", ""},
		{"iptables", "[localhost, primary]", "{true false [127.0.0.0/8 ::1/128] true [::1]}", ""},
		{"iptables", "[127.0.0.0/8]", "{false false [127.0.0.0/8] true []}", ""},
		{"iptables", "[127.0.0.1/32, 10.0.0.0/8]", "{false false [127.0.0.1/32 10.0.0.0/8] true []}", ""},
		{"iptables", "[all]", "{false true [] true []}", ""},
		{"iptables", "[0.0.0.0/0]", "{false false [0.0.0.0/0] true []}", ""},
		{"iptables", "[]", "{false false [] true []}", ""},
		{"iptables", "[primary]", "{true false [] false []}", ""},
		{"iptables", "[10.0.0.0/8]", "{false false [10.0.0.0/8] false []}", ""},
		{"iptables", "['::1/128']", "{false false [::1/128] false [::1]}", ""},
		{"iptables\niptables: {localhostNodePorts: false}", "[127.0.0.0/8]", "{false false [127.0.0.0/8] false []}",
			"nodePortAddresses[0] has no effect: 127.0.0.0/8: iptables.localhostNodePorts is false"},
		{"nftables", "[primary, localhost]", "{true false [127.0.0.0/8 ::1/128] false [127.0.0.1 ::1]}", ""},
		{"nftables", "[primary, 127.0.0.0/8]", "{true false [127.0.0.0/8] false [127.0.0.1]}", ""},
		{"nftables", "[127.0.0.5/32, '::1/128']", "{false false [127.0.0.5/32 ::1/128] false [::1]}", "nodePortAddresses[0] has no effect: 127.0.0.5/32: " + only},
		{"nftables\nfeatureGates: {KubeProxyNFTablesLocalhostNodePorts: false}", "[primary, localhost]", "{true false [127.0.0.0/8 ::1/128] false []}",
			"nodePortAddresses[1] has no effect: localhost: featureGates[KubeProxyNFTablesLocalhostNodePorts] is false"},
		{"nftables", "[all]", "{false true [] false []}", ""},
		{"nftables", "[0.0.0.0/0]", "{false false [0.0.0.0/0] false []}", ""},
		{"nftables", "[]", "{true false [] false []}", ""},
		{"auto", "[localhost]", "{false false [127.0.0.0/8 ::1/128] false [127.0.0.1 ::1]}", ""},
		{"ipvs", "[localhost]", "{false false [127.0.0.0/8 ::1/128] false [127.0.0.1 ::1]}", ""},
		{"ipvs", "[]", "{false false [] false []}", ""},
	} {
		got, err := load(t, head+"mode: "+c.mode+"\nnodePortAddresses: "+c.list+"\n")
		if err != nil {
			t.Errorf("%s %s: %v", c.mode, c.list, err)
			continue
		}
		if text := fmt.Sprint(got.NodePorts); text != c.want || strings.Join(got.Notes, "; ") != c.note {
			t.Errorf("%s %s: %s, notes %q; want %s, note %q", c.mode, c.list, text, got.Notes, c.want, c.note)
		}
	}
}
