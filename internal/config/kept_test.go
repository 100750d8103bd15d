package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A configuration that was kept counts as the file did, in place of one that cannot be used.
func TestLoadKept(t *testing.T) {
	for _, mode := range []string{"auto", "nftables", "iptables", "ipvs"} {
		before, err := load(t, head+"mode: "+mode+"\nclusterCIDR: 10.77.0.0/16\niptables: {masqueradeBit: 3, masqueradeAll: true}\n")
		if err != nil {
			t.Fatal(err)
		}
		if mode == "auto" {
			before.Choose(ModeNFTables)
		}
		text, err := before.YAML()
		if err != nil {
			t.Fatal(err)
		}
		kept, err := LoadKept([]string{"--config=/no/such/file"}, text)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before.Wire, kept.Wire); diff != "" {
			t.Errorf("mode %s: before(-) kept(+):\n%s", mode, diff)
		}
		if kept.MasqueradeMark != before.MasqueradeMark || kept.MasqueradeAll != before.MasqueradeAll || kept.Flags.ConfigFile != "/no/such/file" {
			t.Errorf("mode %s: %+v, want as %+v", mode, kept, before)
		}
	}
	if _, err := LoadKept([]string{"--config=x"}, []byte("mode: [")); err == nil {
		t.Error("a text that is no configuration is taken")
	}
}

// In another mode the fields of that mode count.
func TestIn(t *testing.T) {
	c, err := load(t, head+"mode: ipvs\nnftables: {masqueradeBit: 5}\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.In(ModeNFTables); err != nil || c.MasqueradeMark != 1<<5 || !c.NodePorts.Primary {
		t.Errorf("%v: mark %#x, NodePorts %+v; want 0x20 and the primary address", err, c.MasqueradeMark, c.NodePorts)
	}
	c.Wire.FeatureGates = map[string]bool{"NFTablesProxyMode": false}
	if err := c.In(ModeNFTables); err == nil || !strings.Contains(err.Error(), "NFTablesProxyMode") {
		t.Errorf("a gate that forbids the mode: %v", err)
	}
}
