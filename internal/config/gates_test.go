package config

import (
	"slices"
	"strings"
	"testing"
)

// TestGates checks what becomes of each of kube-proxy's feature gates, by flag and in a file.
func TestGates(t *testing.T) {
	const honoured, unused = "", "has no effect"
	for _, c := range []struct{ gate, mode, want string }{ // want: part of the error or the note
		{"AllowServiceExternalIPs=true", "nftables", honoured},
		{"AllowServiceExternalIPs=false", "nftables", honoured},
		{"AllowServiceExternalIPs=false", "iptables", honoured},
		{"AllowServiceExternalIPs=false", "ipvs", honoured},
		{"KubeProxyIPVS=false", "nftables", honoured},
		{"KubeProxyIPVS=true", "ipvs", honoured},
		{"KubeProxyIPVS=false", "ipvs", "want true, or a mode other than ipvs"},
		{"NFTablesProxyMode=true", "nftables", honoured},
		{"NFTablesProxyMode=false", "nftables", "want true, or mode iptables"},
		{"NFTablesProxyMode=false", "auto", honoured},
		{"NFTablesProxyMode=false", "iptables", honoured},
		{"KubeProxyNFTablesLocalhostNodePorts=true", "auto", honoured},
		{"KubeProxyNFTablesLocalhostNodePorts=false", "nftables", honoured},
		{"TopologyAwareHints=true", "nftables", honoured},
		{"TopologyAwareHints=false", "nftables", unused},
		{"ServiceTrafficDistribution=false", "nftables", unused},
		{"PreferSameTrafficDistribution=false", "nftables", unused},
		{"LoadBalancerIPMode=false", "nftables", unused},
		{"KubeProxyDrainingTerminatingNodes=false", "nftables", unused},
		{"ServiceTrafficDistribution=true", "nftables", honoured},
		{"PreferSameTrafficDistribution=true", "nftables", honoured},
		{"LoadBalancerIPMode=true", "nftables", honoured},
		{"KubeProxyDrainingTerminatingNodes=true", "nftables", honoured},
		{"NFTablesNetlink=false", "nftables", unused},
		{"AllAlpha=true", "nftables", unused},
		{"AllBeta=false", "nftables", unused},
		{"MultiCIDRServiceAllocator=false", "nftables", unused},
		{"WinDSR=true", "nftables", unused},
		{"ComponentStatusz=true", "nftables", unused},
		{"ContextualLogging=false", "nftables", unused},
		{"NativeHistograms=true", "nftables", unused},
		{"GracefulNodeShutdown=true", "nftables", unused},
		{"NodeSwap=false", "nftables", unused},
		{"AllowServiceExternalIP=false", "nftables", "want a feature gate of Kubernetes"},
		{"NoSuchGate=true", "nftables", "want a feature gate of Kubernetes"},
	} {
		t.Run(c.gate+" in "+c.mode, func(t *testing.T) {
			name, value, _ := strings.Cut(c.gate, "=")
			checkGate(t, name, value, c.want, "flag --feature-gates", "", "--feature-gates="+c.gate, "--proxy-mode="+c.mode)
			checkGate(t, name, value, c.want, "featureGates["+name+"]", head+"mode: "+c.mode+"\nfeatureGates: {"+name+": "+value+"}\n")
		})
	}
}

func checkGate(t *testing.T, name, value, want, field, file string, args ...string) {
	t.Helper()
	got, err := load(t, file, args...)
	if strings.HasPrefix(want, "want ") {
		if err == nil || !strings.Contains(err.Error(), field+": got "+value+", "+want) {
			t.Errorf("error %v, want one about %s: got %s, %s", err, field, value, want)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	noted := slices.ContainsFunc(got.Notes, func(n string) bool { return strings.Contains(n, name) })
	if noted != (want != "") || len(got.Notes) > 1 {
		t.Errorf("notes %q, want one: %v", got.Notes, want != "")
	}
	if off := name == AllowExternalIPs && value == "false"; got.ExternalIPs == off {
		t.Errorf("external IPs are programmed: %v, want %v", got.ExternalIPs, !off)
	}
}

// Each gate stands in one place, and either has an effect or the reason why not.
func TestGatesStandOnce(t *testing.T) {
	others := strings.Fields(otherGates)
	if !slices.IsSorted(others) || len(slices.Compact(slices.Clone(others))) != len(others) {
		t.Error("the other gates are not sorted, each once")
	}
	for name, g := range gatesOfProxy {
		if slices.Contains(others, name) {
			t.Errorf("%s stands in both lists", name)
		}
		if g.unused != "" && (g.refuse != nil || g.off != "") || g.refuse != nil && g.off != "" {
			t.Errorf("%s has more than one answer", name)
		}
	}
}

// Where the gate of mode nftables is off, auto is iptables with what the flags and the file say for it.
func TestGateOfNFTablesChoosesTheMode(t *testing.T) {
	for name, c := range map[string]struct{ file, args string }{
		"flags": {"", "--feature-gates=NFTablesProxyMode=false --masquerade-all --iptables-masquerade-bit=5"},
		"file":  {head + "featureGates: {NFTablesProxyMode: false}\niptables: {masqueradeAll: true, masqueradeBit: 5}\n", ""},
	} {
		got, err := load(t, c.file, strings.Fields(c.args)...)
		if err != nil {
			t.Fatal(err)
		}
		if got.Wire.Mode != ModeIPTables || !got.MasqueradeAll || got.MasqueradeMark != 1<<5 || !got.NodePorts.Loopback {
			t.Errorf("%s: mode %s, masquerade all %v, mark %#x, NodePorts %+v", name, got.Wire.Mode, got.MasqueradeAll, got.MasqueradeMark, got.NodePorts)
		}
	}
}

// A change of the gates is taken over while the process runs.
func TestGatesAreLive(t *testing.T) {
	before, err := load(t, head)
	if err != nil {
		t.Fatal(err)
	}
	later, err := load(t, head+"featureGates: {AllowServiceExternalIPs: false}")
	if err != nil {
		t.Fatal(err)
	}
	alive, restart := before.Difference(later)
	if !slices.Equal(alive, []string{"featureGates"}) || len(restart) > 0 {
		t.Errorf("alive %v, restart %v, want featureGates alive", alive, restart)
	}
}
