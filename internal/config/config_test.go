package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// head starts every configuration file.
const head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// load writes the file, if there is one, and loads it with the flags.
func load(t *testing.T, file string, args ...string) (*Config, error) {
	t.Helper()
	if file != "" {
		path := filepath.Join(t.TempDir(), "config.conf")
		if err := os.WriteFile(path, []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append([]string{"--config", path}, args...)
	}
	return Load(args)
}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name string
		file string
		args string
		show func(c *Config) any
		want any
	}{
		{"mode by default", "", "", func(c *Config) any { return c.Wire.Mode }, ModeAuto},
		{"mode by flag", "", "--proxy-mode=nftables", func(c *Config) any { return c.Wire.Mode }, ModeNFTables},
		{"empty mode of kubeadm's file", head + `mode: ""`, "", func(c *Config) any { return c.Wire.Mode }, ModeAuto},
		{"mode of iptables", head + "mode: iptables\niptables: {masqueradeBit: 5, masqueradeAll: true, syncPeriod: 9s}", "", func(c *Config) any {
			return fmt.Sprint(c.Wire.Mode, c.MasqueradeMark, c.MasqueradeAll, c.SyncPeriod, c.NodePorts)
		}, "iptables32 true 9s {false false [] true []}"},
		{"flags of iptables", "", "--proxy-mode=iptables --iptables-masquerade-bit=5 --masquerade-all --iptables-sync-period=9s", func(c *Config) any {
			return fmt.Sprint(c.Wire.Mode, c.MasqueradeMark, c.MasqueradeAll, c.SyncPeriod, c.NodePorts)
		}, "iptables32 true 9s {false false [] true []}"},
		{"no NodePorts on loopback", head + "mode: iptables\niptables: {localhostNodePorts: false}", "", func(c *Config) any { return c.NodePorts.Loopback }, false},
		{"NodePorts on loopback by CIDR", head + "mode: iptables\nnodePortAddresses: [10.0.0.0/8, 127.0.0.0/8]", "", func(c *Config) any { return c.NodePorts.Loopback }, true},
		{"NodePorts not on loopback by CIDR", "", "--proxy-mode=iptables --nodeport-addresses=10.0.0.0/8", func(c *Config) any { return c.NodePorts.Loopback }, false},
		{"auto, and what iptables says", head + "mode: auto\niptables: {masqueradeBit: 5}", "", func(c *Config) any { return c.MasqueradeMark }, uint32(32)},
		{"mode by file", head + "mode: nftables", "", func(c *Config) any { return c.Wire.Mode }, ModeNFTables},

		{"NodePorts by default", "", "", func(c *Config) any { return c.NodePorts }, NodePorts{Primary: true}},
		{"NodePorts on networks", "", "--nodeport-addresses=192.0.2.7/24,2001:db8::/64", func(c *Config) any { return c.NodePorts },
			NodePorts{CIDRs: prefixes("192.0.2.0/24", "2001:db8::/64")}},
		{"NodePorts by two flags", "", "--nodeport-addresses=192.0.2.0/24 --nodeport-addresses=all", func(c *Config) any { return c.NodePorts },
			NodePorts{All: true, CIDRs: prefixes("192.0.2.0/24")}},
		{"NodePorts by file", head + "nodePortAddresses: [primary, 10.0.0.0/8]", "", func(c *Config) any { return c.NodePorts },
			NodePorts{Primary: true, CIDRs: prefixes("10.0.0.0/8")}},

		{"pods of one family", "", "--cluster-cidr=10.244.1.1/16", func(c *Config) any { return c.LocalPods.CIDRs }, prefixes("10.244.0.0/16")},
		{"pods of two families", head + "clusterCIDR: fd00:10::/48, 10.244.0.0/16", "", func(c *Config) any { return c.LocalPods.CIDRs },
			prefixes("fd00:10::/48", "10.244.0.0/16")},
		{"pods not told", "", "", func(c *Config) any { return c.LocalPods }, LocalPods{}},
		{"pods by the node", head + "detectLocalMode: NodeCIDR\nclusterCIDR: 10.244.0.0/16", "", func(c *Config) any { return c.LocalPods }, LocalPods{NodeCIDR: true}},
		{"pods by their bridge", head + "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cni0, interfaceNamePrefix: x}", "",
			func(c *Config) any { return c.LocalPods }, LocalPods{Interface: "cni0"}},
		{"pods by their interfaces", "", "--detect-local-mode=InterfaceNamePrefix --pod-interface-name-prefix=cali",
			func(c *Config) any { return c.LocalPods }, LocalPods{Prefix: "cali"}},

		{"mark by default", "", "", func(c *Config) any { return c.MasqueradeMark }, uint32(0x4000)},
		{"mark of the mode", head + "mode: nftables\nnftables: {masqueradeBit: 31}\niptables: {masqueradeBit: 1}", "",
			func(c *Config) any { return c.MasqueradeMark }, uint32(1 << 31)},
		{"mark 0", head + "nftables: {masqueradeBit: 0}", "", func(c *Config) any { return c.MasqueradeMark }, uint32(1)},
		{"mark of iptables, no mode", head + "iptables: {masqueradeBit: 5}", "", func(c *Config) any { return c.MasqueradeMark }, uint32(1 << 5)},
		{"mark by flag", "", "--iptables-masquerade-bit=6", func(c *Config) any { return c.MasqueradeMark }, uint32(1 << 6)},
		{"mark of iptables beside a mode", head + "mode: nftables\niptables: {masqueradeBit: 5}", "", func(c *Config) any { return c.MasqueradeMark }, uint32(0x4000)},

		{"masquerade all by flag", "", "--masquerade-all", func(c *Config) any { return c.MasqueradeAll }, true},
		{"masquerade all by flag and mode", "", "--masquerade-all --proxy-mode=nftables", func(c *Config) any { return c.MasqueradeAll }, true},
		{"masquerade all by file", head + "mode: nftables\nnftables: {masqueradeAll: true}", "", func(c *Config) any { return c.MasqueradeAll }, true},
		{"masquerade all of iptables, no mode", head + "iptables: {masqueradeAll: true}", "", func(c *Config) any { return c.MasqueradeAll }, true},
		{"masquerade all of iptables beside a mode", head + "mode: nftables\niptables: {masqueradeAll: true}", "", func(c *Config) any { return c.MasqueradeAll }, false},

		{"sync period", head + "nftables: {syncPeriod: 5s}", "", func(c *Config) any { return c.SyncPeriod }, 5 * time.Second},
		{"sync period of iptables, no mode", head + "iptables: {syncPeriod: 6s}", "", func(c *Config) any { return c.SyncPeriod }, 6 * time.Second},
		{"sync period by flag", "", "--iptables-sync-period=7s --proxy-mode=nftables", func(c *Config) any { return c.SyncPeriod }, 7 * time.Second},

		{"name by flag", "", "--hostname-override= Node-1 ", func(c *Config) any { return c.HostnameOverride }, "node-1"},
		{"name by file", head + "hostnameOverride: Node-1", "", func(c *Config) any { return c.HostnameOverride }, "node-1"},
		{"name by flag beside a file", head + "hostnameOverride: file", "--hostname-override=flag", func(c *Config) any { return c.HostnameOverride }, "flag"},
		{"name by empty flag beside a file", head + "hostnameOverride: file", "--hostname-override=", func(c *Config) any { return c.HostnameOverride }, ""},
		{"flag with underscores", "", "--hostname_override=flag", func(c *Config) any { return c.HostnameOverride }, "flag"},

		{"health by default", "", "", func(c *Config) any { return c.Wire.HealthzBindAddress }, "0.0.0.0:10256"},
		{"metrics by default", "", "", func(c *Config) any { return c.Wire.MetricsBindAddress }, "127.0.0.1:10249"},
		{"health with IPv6", head + "bindAddress: '::'", "", func(c *Config) any { return c.Wire.HealthzBindAddress }, "[::]:10256"},
		{"metrics with IPv6", head + "bindAddress: '::'", "", func(c *Config) any { return c.Wire.MetricsBindAddress }, "[::1]:10249"},
		{"health without port", head + "healthzBindAddress: 192.0.2.1", "", func(c *Config) any { return c.Wire.HealthzBindAddress }, "192.0.2.1:10256"},
		{"health by flag", "", "--healthz-bind-address=[::1]:1", func(c *Config) any { return c.Wire.HealthzBindAddress }, "[::1]:1"},
		{"health by flag, no port", "", "--healthz-bind-address=::1", func(c *Config) any { return c.Wire.HealthzBindAddress }, "[::1]:10256"},
		{"health off by address", "", "--healthz-bind-address=", func(c *Config) any { return c.Wire.HealthzBindAddress }, ""},
		{"health off by port", "", "--healthz-port=0", func(c *Config) any { return c.Wire.HealthzBindAddress }, ""},
		{"health on another port", "", "--healthz-port=99", func(c *Config) any { return c.Wire.HealthzBindAddress }, "0.0.0.0:99"},
		{"metrics off by port", "", "--metrics-port=0", func(c *Config) any { return c.Wire.MetricsBindAddress }, ""},
		{"metrics: the address wins", "", "--metrics-port=1 --metrics-bind-address=127.0.0.1:2", func(c *Config) any { return c.Wire.MetricsBindAddress }, "127.0.0.1:2"},

		{"verbosity beside a file", head + "logging: {verbosity: 1, format: json}", "-v=4", func(c *Config) any {
			return fmt.Sprint(c.Wire.Logging.Format, c.Wire.Logging.Verbosity)
		}, "json4"},
		{"gates", "", "--feature-gates=AllAlpha=true,AllBeta=false", func(c *Config) any { return c.Wire.FeatureGates }, map[string]bool{"AllAlpha": true, "AllBeta": false}},
		{"connection", head + "clientConnection: {kubeconfig: /k, qps: 3.5, burst: 7}", "--master=https://192.0.2.1:6443", func(c *Config) any {
			return fmt.Sprintln(c.Wire.ClientConnection.Kubeconfig, c.Wire.ClientConnection.QPS, c.Wire.ClientConnection.Burst, c.Flags.Master)
		}, "/k 3.5 7 https://192.0.2.1:6443\n"},
		{"tracking", "", "--conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-udp-timeout=10s", func(c *Config) any {
			return fmt.Sprint(*c.Wire.Conntrack.MaxPerCore, c.Wire.Conntrack.TCPEstablishedTimeout.Duration, c.Wire.Conntrack.UDPTimeout.Duration)
		}, "0 0s 10s"},
		{"node address by an empty variable", "", "--bind-address=", func(c *Config) any { return c.Wire.BindAddress + " " + c.Wire.HealthzBindAddress }, "0.0.0.0 0.0.0.0:10256"},
		{"note of an API beside a folder", "", "--manifests=/m --kubeconfig=/k --master=m", func(c *Config) any { return c.Notes }, []string{
			"clientConnection.kubeconfig (flag --kubeconfig) has no effect: --manifests reads a folder instead of the API",
			"flag --master has no effect: --manifests reads a folder instead of the API",
		}},
		{"node address", "", "--bind-address=192.0.2.9", func(c *Config) any { return c.BindAddress }, netip.MustParseAddr("192.0.2.9")},
		{"own flags", "", "--manifests=/m --init-only --cleanup --version --conntrack-cut-half-open --count-traffic=shop/web,*/dns", func(c *Config) any { return c.Flags },
			Flags{Manifests: "/m", InitOnly: true, Cleanup: true, Version: true, CutHalfOpen: true,
				CountTraffic: []Service{{"shop", "web"}, {"*", "dns"}}, ProtectedPorts: []Port{{Number: 22}}}},
		{"JSON", `{"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration","oomScoreAdj":5}`, "",
			func(c *Config) any { return *c.Wire.OOMScoreAdj }, int32(5)},
		{"comments around the document", "# a\n---\n" + head + "oomScoreAdj: 5\n---\n# z\n", "", func(c *Config) any { return *c.Wire.OOMScoreAdj }, int32(5)},

		{"notes of nothing", "", "", func(c *Config) any { return c.Notes }, []string(nil)},
		{"note of a flag beside a file", head, "--cluster-cidr=10.0.0.0/8 --v=3 --hostname-override=x --master=m", func(c *Config) any { return c.Notes },
			[]string{"flag --cluster-cidr is ignored because --config names a file: set clusterCIDR there"}},
		{"notes of fields", head + "portRange: 1-2\nnftables: {minSyncPeriod: 9s}\nmode: nftables", "", func(c *Config) any { return c.Notes }, []string{
			"nftables.minSyncPeriod has no effect: " + atOnce,
			"portRange has no effect: " + effects["portRange"].unused,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var args []string
			for _, arg := range strings.SplitAfter(c.args, " --") {
				if arg = strings.TrimSuffix(arg, " --"); arg != "" {
					args = append(args, "--"+strings.TrimLeft(arg, "-"))
				}
			}
			got, err := load(t, c.file, args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, c.show(got), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("want(-) got(+):\n%s", diff)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		file string
		args string
		want []string // parts of the error
	}{
		{"unknown flag", "", "--no-such-flag", []string{"--no-such-flag", "does not exist"}},
		{"unknown short flag", "", "-x", []string{"-x", "does not exist"}},
		{"flag without value", "", "--config", []string{"--config", "needs an argument"}},
		{"flag of another type", "", "--oom-score-adj=low", []string{"--oom-score-adj", "low", "int32"}},
		{"gate without state", "", "--feature-gates=A", []string{"--feature-gates", `"A"`, "Name=true"}},
		{"Services to count", "", "--count-traffic=shop/web,shop", []string{"--count-traffic", `"shop"`, "NAMESPACE/NAME"}},
		{"Services to count by a pattern", "", "--count-traffic=shop/we*", []string{"--count-traffic", `"shop/we*"`}},
		{"no such file", "", "--config=/no/such/file", []string{"--config", "/no/such/file"}},
		{"empty file", "\n# nothing\n", "", []string{"empty", "KubeProxyConfiguration"}},
		{"two documents", head + "---\n" + head, "", []string{"two documents"}},
		{"no YAML", "a: [", "", []string{"config.conf", "want one KubeProxyConfiguration"}},
		{"YAML that looks like JSON", "{a: 1, apiVersion: kubeproxy.config.k8s.io/v1alpha1, kind: KubeProxyConfiguration}", "", []string{"json parse error", "want one KubeProxyConfiguration"}},
		{"no kind", "mode: nftables", "", []string{`kind "" of ""`, "want one KubeProxyConfiguration"}},
		{"another kind", "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration", "", []string{"KubeletConfiguration", "want one KubeProxyConfiguration"}},
		{"another version", "apiVersion: kubeproxy.config.k8s.io/v1\nkind: KubeProxyConfiguration", "", []string{"kubeproxy.config.k8s.io/v1", "v1alpha1"}},
		{"no map", "[a]", "", []string{`kind "" of ""`, "want one KubeProxyConfiguration"}},
		{"list for a string", head + "clusterCIDR: [10.244.0.0/16]", "", []string{`config.conf: clusterCIDR: got ["10.244.0.0/16"], want a string`}},
		{"time without a unit", head + "conntrack: {udpTimeout: 30}", "", []string{"config.conf: conntrack.udpTimeout: got 30, want a time with its unit, such as 30s"}},
		{"time that is none", head + "conntrack: {tcpEstablishedTimeout: day}", "", []string{`conntrack.tcpEstablishedTimeout: got "day", want a time with its unit`}},
		{"gates as a string", head + `featureGates: ""`, "", []string{`featureGates: got "", want names with true or false, such as`}},
		{"word for a number", head + "oomScoreAdj: low", "", []string{`oomScoreAdj: got "low", want a whole number`}},
		{"number too large", head + "oomScoreAdj: 99999999999", "", []string{"oomScoreAdj: got 99999999999, want a whole number of at most 32 bits"}},
		{"word for a switch", head + "iptables: {masqueradeAll: on please}", "", []string{`iptables.masqueradeAll: got "on please", want true or false`}},
		{"string for a list", head + "nodePortAddresses: primary", "", []string{`nodePortAddresses: got "primary", want a list of strings, such as [primary]`}},
		{"number for a section", head + "conntrack: 5", "", []string{"conntrack: got 5, want fields below it, such as conntrack.m"}},
		{"size of a buffer", head + "logging: {options: {text: {infoBufferSize: x}}}", "", []string{`logging.options.text.infoBufferSize: got "x", want a size, such as 64Ki`}},
		{"two of another type, and an unknown field", head + "a: 1\nclusterCIDR: 5\nenableProfiling: 1", "", []string{"clusterCIDR: got 5", "enableProfiling: got 1"}},

		{"mode of Windows", head + "mode: kernelspace", "", []string{"mode: got kernelspace", "want nftables, iptables, ipvs or auto"}},
		{"networks of others", head + "mode: ipvs\nipvs: {excludeCIDRs: [10.0.0.0]}", "", []string{"ipvs.excludeCIDRs[0]", `"10.0.0.0"`, "CIDR block"}},
		{"time of IPVS", "", "--proxy-mode=ipvs --ipvs-udp-timeout=-1s", []string{"--ipvs-udp-timeout: got -1s", "or 0 to leave it"}},
		{"mode mistyped", "", "--proxy-mode=nftable", []string{"got nftable,", "want nftables, iptables, ipvs or auto"}},
		{"no bridge", head + "detectLocalMode: BridgeInterface", "", []string{`detectLocal.bridgeInterface: got "", want the name of an interface`}},
		{"a bridge that is none", "", "--detect-local-mode=BridgeInterface --pod-bridge-interface=longer-than-sixteen", []string{"flag --pod-bridge-interface", "15 characters"}},
		{"no prefix", "", "--detect-local-mode=InterfaceNamePrefix", []string{`flag --pod-interface-name-prefix: got "", want`}},
		{"local mode mistyped", "", "--detect-local-mode=x", []string{"want ClusterCIDR, NodeCIDR"}},
		{"NodePorts", head + "nodePortAddresses: [primary, 10.0.0.1]", "", []string{`nodePortAddresses[1]: got "10.0.0.1"`, "CIDR block"}},
		{"cluster CIDR", "", "--cluster-cidr=10.0.0.0", []string{`flag --cluster-cidr: got "10.0.0.0"`, "10.244.0.0/16"}},
		{"cluster CIDRs of one family", head + "clusterCIDR: 10.0.0.0/8,11.0.0.0/8", "", []string{"clusterCIDR", "one per family"}},
		{"three cluster CIDRs", head + "clusterCIDR: 10.0.0.0/8,fd00::/8,11.0.0.0/8", "", []string{"clusterCIDR", "one per family"}},
		{"node address", "", "--bind-address=here", []string{`flag --bind-address: got "here"`, "an IP address"}},
		{"health by name", "", "--healthz-bind-address=localhost:1", []string{`flag --healthz-bind-address: got "localhost:1"`}},
		{"metrics port", head + "metricsBindAddress: 127.0.0.1:0", "", []string{`metricsBindAddress: got "127.0.0.1:0"`, "from 1 to 65535"}},
		{"mark of iptables, no mode", head + "iptables: {masqueradeBit: 40}", "", []string{"iptables.masqueradeBit: got 40, want a number from 0 to 31"}},
		{"sync period of iptables, no mode", head + "iptables: {syncPeriod: -1s}", "", []string{"iptables.syncPeriod: got -1s"}},
		{"mark", head + "nftables: {masqueradeBit: 32}", "", []string{"nftables.masqueradeBit: got 32", "0 to 31"}},
		{"mark by flag", "", "--iptables-masquerade-bit=-1", []string{"--iptables-masquerade-bit: got -1"}},
		{"OOM score", "", "--oom-score-adj=1001", []string{"--oom-score-adj: got 1001", "-1000 to 1000"}},
		{"tracking", head + "conntrack: {maxPerCore: -1, min: -2}", "", []string{"conntrack.maxPerCore: got -1", "conntrack.min: got -2"}},
		{"tracking time", "", "--conntrack-udp-timeout=-1s", []string{"--conntrack-udp-timeout: got -1s"}},
		{"sync period", head + "nftables: {syncPeriod: -1s}", "", []string{"nftables.syncPeriod: got -1s", "greater than 0"}},
		{"sync period by flag", "", "--iptables-sync-period=0s", []string{"flag --iptables-sync-period: got 0s"}},
		{"slowest sync", head + "nftables: {minSyncPeriod: -1s}", "", []string{"nftables.minSyncPeriod"}},
		{"resync", "", "--config-sync-period=0", []string{"--config-sync-period"}},
		{"burst", "", "--kube-api-burst=-1", []string{"--kube-api-burst: got -1"}},
		{"log format", "", "--logging-format=xml", []string{`flag --logging-format: got "xml"`, "text or json"}},
		{"all at once", head + "mode: x\noomScoreAdj: 5000", "", []string{"mode: got x", "oomScoreAdj: got 5000"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.file, strings.Fields(c.args)...)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestHelp(t *testing.T) {
	if _, err := Load([]string{"--help"}); err != ErrHelp {
		t.Fatalf("got %v, want ErrHelp", err)
	}
	if !strings.Contains(Usage(), "--proxy-mode") {
		t.Error("the usage does not list the flags")
	}
}
