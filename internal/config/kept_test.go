package config

import (
	"encoding/json"
	"fmt"
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

// The configuration of a process that runs counts, with what the command line says about the objects and the node.
func TestOf(t *testing.T) {
	runs, err := load(t, head+"mode: iptables\nclusterCIDR: 10.77.0.0/16\nhostnameOverride: node-1\nunknown: 1\nclientConnection: {kubeconfig: /theirs}\n", "--manifests=/their-manifests")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(runs.Wire)
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]string{"protected-node-ports": "[22,8472/udp]", "manifests": "/their-manifests", "master": "", "cluster-cidr": "10.1.0.0/16"}
	for _, tt := range []struct{ args, want string }{
		{"", "node-1 iptables [10.77.0.0/16] /theirs /their-manifests [{22 } {8472 udp}] false"},
		{"--hostname-override=node-2 --v=4", "node-2 iptables [10.77.0.0/16] /theirs /their-manifests [{22 } {8472 udp}] false"},
		{"--kubeconfig=/ours --protected-node-ports=1", "node-1 iptables [10.77.0.0/16] /ours  [{1 }] false"},
		{"--metrics-bind-address=127.0.0.1:9", "node-1 iptables [10.77.0.0/16] /theirs /their-manifests [{22 } {8472 udp}] false"},
		{"--cluster-cidr=10.0.0.0/8", "node-1 iptables [10.77.0.0/16] /theirs /their-manifests [{22 } {8472 udp}] true"},
		{"--manifests=/ours", "node-1 iptables [10.77.0.0/16] /theirs /ours [{22 } {8472 udp}] true"},
	} {
		c, err := Load(strings.Fields(tt.args))
		if err != nil {
			t.Fatal(err)
		}
		of, err := c.Of(text, flags)
		if err != nil {
			t.Errorf("%q: %v", tt.args, err)
			continue
		}
		got := fmt.Sprint(of.HostnameOverride, " ", of.Wire.Mode, " ", of.LocalPods.CIDRs, " ", of.Wire.ClientConnection.Kubeconfig, " ", of.Flags.Manifests, " ", of.Flags.ProtectedPorts, " ", c.Given)
		if got != tt.want || len(of.Notes) > 0 {
			t.Errorf("%q: %s, notes %q, want %s", tt.args, got, of.Notes, tt.want)
		}
	}
	c, err := Load(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Of([]byte(`{"mode": 1}`), nil); err == nil {
		t.Error("a text that is no configuration is taken")
	}
}
