package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestLoopbackNodePorts checks which words and networks make NodePorts work on 127.0.0.0/8, and that the
// others are noted.
func TestLoopbackNodePorts(t *testing.T) {
	const only = "NodePorts on loopback addresses are served in mode iptables only"
	for _, c := range []struct{ mode, list, want, note string }{
		{"iptables", "[localhost]", "{false false [127.0.0.0/8 ::1/128] true}", ""},
		{"iptables", "[localhost, primary]", "{true false [127.0.0.0/8 ::1/128] true}", ""},
		{"iptables", "[127.0.0.0/8]", "{false false [127.0.0.0/8] true}", ""},
		{"iptables", "[127.0.0.1/32, 10.0.0.0/8]", "{false false [127.0.0.1/32 10.0.0.0/8] true}", ""},
		{"iptables", "[all]", "{false true [] true}", ""},
		{"iptables", "[0.0.0.0/0]", "{false false [0.0.0.0/0] true}", ""},
		{"iptables", "[]", "{false false [] true}", ""},
		{"iptables", "[primary]", "{true false [] false}", ""},
		{"iptables", "[10.0.0.0/8]", "{false false [10.0.0.0/8] false}", ""},
		{"iptables", "['::1/128']", "{false false [::1/128] false}", "nodePortAddresses[0] has no effect: ::1/128: of the loopback addresses those of IPv4 serve NodePorts"},
		{"iptables\niptables: {localhostNodePorts: false}", "[localhost]", "{false false [127.0.0.0/8 ::1/128] false}",
			"nodePortAddresses[0] has no effect: localhost: iptables.localhostNodePorts is false"},
		{"nftables", "[primary, localhost]", "{true false [127.0.0.0/8 ::1/128] false}", "nodePortAddresses[1] has no effect: localhost: " + only},
		{"nftables", "[primary, 127.0.0.0/8]", "{true false [127.0.0.0/8] false}", "nodePortAddresses[1] has no effect: 127.0.0.0/8: " + only},
		{"nftables", "[all]", "{false true [] false}", ""},
		{"auto", "[localhost]", "{false false [127.0.0.0/8 ::1/128] false}", "nodePortAddresses[0] has no effect: localhost: " + only},
		{"ipvs", "['::1/128', 0.0.0.0/0]", "{false false [::1/128 0.0.0.0/0] false}", "nodePortAddresses[0] has no effect: ::1/128: " + only},
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
