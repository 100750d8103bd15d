package config

import (
	"strings"
	"testing"
)

// What runs today with kube-proxy is taken over: configurations as installers write
// them, every field with an empty value that kubeadm prints.
func TestConfigurationsOfInstallers(t *testing.T) {
	for _, c := range []struct {
		name, file, args string
		notes            int
		check            func(c *Config) bool
	}{
		{"kubeadm", `
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf, qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
kind: KubeProxyConfiguration
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
`, "--hostname-override=Worker-1", 0, func(c *Config) bool {
			return c.HostnameOverride == "worker-1" && c.Wire.ClientConnection.Kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf" &&
				c.Wire.ClientConnection.QPS == 5 && len(c.LocalPods.CIDRs) == 1 && c.NodePorts.Primary && c.Wire.HealthzBindAddress == "0.0.0.0:10256"
		}},
		{"a development cluster in containers", head + `
mode: nftables
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
iptables: {minSyncPeriod: 1s}
metricsBindAddress: 0.0.0.0:10249
`, "", 0, func(c *Config) bool {
			return len(c.LocalPods.CIDRs) == 2 && *c.Wire.Conntrack.MaxPerCore == 0 && c.Wire.Conntrack.TCPEstablishedTimeout.Duration == 0
		}},
		{"flags alone", "", "--kubeconfig=/k --cluster-cidr=10.0.0.0/8 --oom-score-adj=-998 --v=2 --masquerade-all --nodeport-addresses=primary", 0,
			func(c *Config) bool { return c.MasqueradeAll && *c.Wire.OOMScoreAdj == -998 }},
		{"with what has no effect", head + "featureGates: {SupportIPVSProxyMode: true}\nipvs: {strictARP: true}\nmode: nftables", "", 2, func(*Config) bool { return true }},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := load(t, c.file, strings.Fields(c.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Notes) != c.notes {
				t.Errorf("notes %q, want %d", got.Notes, c.notes)
			}
			if !c.check(got) {
				t.Errorf("not as expected: %+v", got)
			}
		})
	}
}
