package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What a running forwarder takes over and what it must start again for.
func TestDifference(t *testing.T) {
	for _, c := range []struct{ name, before, after, alive, restart string }{
		{"nothing", "", "", "", ""},
		{"a default said", "", "healthzBindAddress: 0.0.0.0:10256", "", ""},
		{"without effect", "", "portRange: x", "", ""},
		{"network of the pods", "clusterCIDR: 10.1.0.0/16", "clusterCIDR: 10.2.0.0/16", "clusterCIDR", ""},
		{"way to tell pods", "clusterCIDR: 10.1.0.0/16", "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}",
			"clusterCIDR detectLocal.interfaceNamePrefix detectLocalMode", ""},
		{"NodePorts and masquerading", "", "nodePortAddresses: [192.0.2.0/24]\nnftables: {masqueradeAll: true, masqueradeBit: 3}",
			"nftables.masqueradeAll nftables.masqueradeBit nodePortAddresses", ""},
		{"the mark by the other section", "", "iptables: {masqueradeBit: 3}", "nftables.masqueradeBit", ""},
		{"limits of the kernel", "", "conntrack: {udpTimeout: 10s}", "conntrack.udpTimeout", ""},
		{"where it listens", "", "metricsBindAddress: 127.0.0.1:1", "", "metricsBindAddress"},
		{"both", "", "bindAddress: 192.0.2.1\nclientConnection: {qps: 7}", "bindAddress", "clientConnection.qps"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			write := func(text string) {
				if err := os.WriteFile(file, []byte(head+text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(c.before)
			before, err := Load([]string{"--config=" + file})
			if err != nil {
				t.Fatal(err)
			}
			write(c.after)
			after, err := before.Reload()
			if err != nil {
				t.Fatal(err)
			}
			alive, restart := before.Difference(after)
			if !slices.Equal(alive, strings.Fields(c.alive)) || !slices.Equal(restart, strings.Fields(c.restart)) {
				t.Errorf("alive %q, restart %q, want %q and %q", alive, restart, c.alive, c.restart)
			}
		})
	}
}

// Each name is one of a field that has an effect in some mode.
func TestLiveFields(t *testing.T) {
	for _, path := range live {
		if _, known := effects[path]; !known {
			t.Errorf("no field %s", path)
		}
	}
}
