package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// containerdConfig is for containerd 1.6 (Debian 12), whose format 1.7 and 2 read as well. The runtime may
// not raise OOM scores where the machine's root has no CAP_SYS_RESOURCE.
const containerdConfig = `version = 2
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[1]s"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[2]s"
    conf_dir = "%[3]s"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "%[4]s"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
`

// registryHosts sends every pull, whatever its registry, to the cluster's own: the folder _default stands for
// all hosts that have none of their own.
const registryHosts = `server = "http://%[1]s"
[host."http://%[1]s"]
  capabilities = ["pull", "resolve"]
`

// cniConfig gives each pod a cable of its own to the node, without a bridge: packets between two pods of a
// node pass its routing, and so the rules, without the kernel's br_netfilter.
func cniConfig(m member) ([]byte, error) {
	type object = map[string]any
	return json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       "pods",
		"plugins": []object{
			{
				"type": "ptp", "ipMasq": false, "mtu": 1500,
				"ipam": object{
					"type":    "host-local",
					"dataDir": "/var/lib/cni/networks",
					"ranges":  [][]object{{{"subnet": m.pods4.String()}}, {{"subnet": m.pods6.String()}}},
					"routes":  []object{{"dst": "0.0.0.0/0"}, {"dst": "::/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
}

// kubeletConfig is the configuration of a node's kubelet. Its times are those of a kubelet as it comes but for
// what makes tests wait.
func (p place) kubeletConfig(m member) ([]byte, error) {
	type object = map[string]any
	return json.MarshalIndent(object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1",
		"kind":       "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false}, "webhook": object{"enabled": true},
			"x509": object{"clientCAFile": p.file("pki", "ca.crt")},
		},
		"authorization":     object{"mode": "Webhook"},
		"tlsCertFile":       p.file("pki", m.name+".crt"),
		"tlsPrivateKeyFile": p.file("pki", m.name+".key"),

		"containerRuntimeEndpoint":  "unix:///run/containerd/containerd.sock",
		"cgroupDriver":              "cgroupfs",
		"failCgroupV1":              false,
		"failSwapOn":                false,
		"oomScoreAdj":               0, // to lower it wants CAP_SYS_RESOURCE
		"volumePluginDir":           "/var/lib/kubelet/volume-plugins",
		"resolvConf":                p.file(m.name, "resolv.conf"),
		"clusterDNS":                []string{dnsAddress},
		"clusterDomain":             clusterDomain,
		"maxPods":                   200,
		"serializeImagePulls":       false,
		"nodeStatusUpdateFrequency": "2s",
		"nodeLeaseDurationSeconds":  4,    // renewed every second, see --node-monitor-grace-period
		"syncFrequency":             "3s", // pods see a changed ConfigMap
		"crashLoopBackOff":          object{"maxContainerRestartPeriod": "2s"},
		// The disk and the memory are the machine's: what others use of them must evict nobody here.
		"imageGCHighThresholdPercent": 100,
		"evictionHard": object{
			"memory.available": "20Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%", "imagefs.inodesFree": "0%", "pid.available": "0%",
		},
	}, "", "  ")
}

// hiddenSysctls are parameters that the kubelet writes and that belong to the whole machine. In a node each is
// a file that already reads as the kubelet wants it (k8s.io/kubernetes/pkg/kubelet/cm, setupKernelTunables).
var hiddenSysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// nodeFolders are what a node has for itself of the machine's tree, by the folder's name in the node's own.
var nodeFolders = map[string]string{
	"kubelet":    "/var/lib/kubelet",
	"containerd": "/var/lib/containerd",
	"cni":        "/var/lib/cni",
	"log":        "/var/log",
}

// sandboxImage holds the network namespace of each pod.
const sandboxImage = "signpost/pause:dev"

// writeNode makes the files of a node.
func (p place) writeNode(m member, cniPlugins string) error {
	cni, err := cniConfig(m)
	if err != nil {
		return err
	}
	kubelet, err := p.kubeletConfig(m)
	if err != nil {
		return err
	}
	files := map[string]string{
		"cni.d/10-pods.conflist":         string(cni),
		"kubelet.json":                   string(kubelet),
		"registries/_default/hosts.toml": fmt.Sprintf(registryHosts, netip.AddrPortFrom(outside.v4, registryPort)),
		"containerd.toml":                fmt.Sprintf(containerdConfig, sandboxImage, cniPlugins, p.file(m.name, "cni.d"), p.file(m.name, "registries")),
		"resolv.conf":                    "nameserver " + outside.v4.String() + "\n",
	}
	for name, value := range hiddenSysctls {
		files["sysctl/"+strings.ReplaceAll(name, "/", ".")] = value
	}
	for name, text := range files {
		path := p.file(m.name, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name := range nodeFolders {
		if err := os.MkdirAll(p.file(m.name, name), 0o755); err != nil {
			return err
		}
	}
	return nil
}
