package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A file with fields that do not exist is taken, as kube-proxy takes it, and each such field gets a note.
func TestUnknownFieldsAreNoted(t *testing.T) {
	for _, c := range []struct {
		name, file string
		want       []string
	}{
		{"fields of former versions", `
mode: nftables
clusterCIDR: 10.244.0.0/16
metadata: {name: kube-proxy}
udpIdleTimeout: 250ms
resourceContainer: /kube-proxy
conntrack: {max: null, maxPerCore: 7}
ipvs: {masqueradeAll: true}
`, []string{
			"conntrack.max has no effect: conntrack.maxPerCore and conntrack.min set the limit of tracked connections",
			"ipvs.masqueradeAll has no effect: the field does not exist; iptables.masqueradeAll applies in ipvs mode",
			"metadata has no effect: a KubeProxyConfiguration has none; kustomize needs it",
			"resourceContainer has no effect: kube-proxy no longer moves itself into a container of this name",
			"udpIdleTimeout has no effect: it belonged to kube-proxy's userspace mode; conntrack.udpTimeout sets the timeout of UDP flows",
		}},
		{"fields that no version had", "clusterCidr: 10.0.0.0/8\ntcpTimeout: 1s\nsyncPeriod: 1s\nspec: {a: 1}\nclusterCIDR: 10.244.0.0/16\nconntrack: {maxPerCore: 7}\n", []string{
			"clusterCidr has no effect: KubeProxyConfiguration v1alpha1 has no such field; clusterCIDR is one",
			"spec has no effect: KubeProxyConfiguration v1alpha1 has no such field",
			"syncPeriod has no effect: KubeProxyConfiguration v1alpha1 has no such field; iptables.syncPeriod, ipvs.syncPeriod, nftables.syncPeriod are",
			"tcpTimeout has no effect: KubeProxyConfiguration v1alpha1 has no such field; ipvs.tcpTimeout is one",
		}},
		{"a field twice in JSON", `
{"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "clusterCIDR": "10.0.0.0/8", "clusterCIDR": "10.1.0.0/16", "conntrack": {"maxPerCore": 7}}`,
			[]string{`duplicate field "clusterCIDR": one of the values has no effect`}},
		{"a field twice", "clusterCIDR: 10.244.0.0/16\noomScoreAdj: 1\noomScoreAdj: 1\nconntrack: {maxPerCore: 7}\noomScoreAdj: 1\n", []string{
			`line 5: key "oomScoreAdj" already set in map: one of the values has no effect`,
			`line 7: key "oomScoreAdj" already set in map: one of the values has no effect`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := c.file
			if !strings.HasPrefix(file, "\n{") {
				file = head + file
			}
			got, err := load(t, file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got.Notes); diff != "" {
				t.Errorf("notes want(-) got(+):\n%s", diff)
			}
			if len(got.LocalPods.CIDRs) != 1 || *got.Wire.Conntrack.MaxPerCore != 7 {
				t.Errorf("the other fields do not count: %+v", got.Wire)
			}
		})
	}
}

// What is about another mode, or another way to tell pods, may have any value.
func TestFieldsOfOtherModesAreNotChecked(t *testing.T) {
	const ipvs, iptables, nftables = "ipvs: {excludeCIDRs: [x], udpTimeout: -1s, syncPeriod: -1s}\n",
		"iptables: {masqueradeBit: -1, syncPeriod: -1s}\n", "nftables: {masqueradeBit: -1, syncPeriod: -1s}\n"
	for mode, file := range map[string]string{"nftables": ipvs + iptables, "iptables": ipvs + nftables, "ipvs": nftables} {
		c, err := load(t, head+"mode: "+mode+"\ndetectLocalMode: NodeCIDR\nclusterCIDR: none\n"+file)
		if err != nil || c.MasqueradeMark != 1<<14 || c.SyncPeriod != 30*time.Second {
			t.Errorf("mode %s: %v, %+v", mode, err, c)
		}
		if mode != "nftables" {
			continue
		}
		if err := c.In(ModeIPTables); err == nil || !strings.Contains(err.Error(), "iptables.masqueradeBit: got -1") {
			t.Errorf("in another mode: %v", err)
		}
	}
}

// A field that keeps something off counts in a file with unknown fields, too.
func TestUnknownFieldsHideNoOther(t *testing.T) {
	c, err := load(t, head+"unknown: 1\nfeatureGates: {AllowServiceExternalIPs: false}\n")
	if err != nil || c.ExternalIPs {
		t.Errorf("%v: external IPs are programmed", err)
	}
	if _, err := load(t, head+"unknown: 1\nfeatureGates: {NoSuchGate: false}\n"); err == nil || !strings.Contains(err.Error(), "NoSuchGate") {
		t.Errorf("error %v, want one about the gate", err)
	}
}
