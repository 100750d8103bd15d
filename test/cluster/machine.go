package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// errNotRoot says why an ordinary user gets no cluster: the namespaces of a node are made of the machine's own,
// and containerd and the kubelet need root in them.
var errNotRoot = errors.New("a cluster needs root: nodes are namespaces, cgroups and mounts of this machine")

// wanted are programs of the machine and the Debian packages that hold them.
var wanted = map[string]string{
	"ip": "iproute2", "nsenter": "util-linux", "iptables": "iptables", // iptables for the CNI plugin portmap
	"containerd": "containerd", "ctr": "containerd", "containerd-shim-runc-v2": "containerd", "runc": "runc",
}

// cniFolders are where distributions keep the CNI plugins.
var cniFolders = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// checkMachine returns what the machine gives to a cluster, or everything that is missing.
func checkMachine() (cniPlugins string, err error) {
	if os.Geteuid() != 0 {
		return "", errNotRoot
	}
	// An ordinary user's path, and so sudo's sometimes, lacks these.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/local/sbin:/usr/sbin:/sbin"); err != nil {
		return "", err
	}
	missing := map[string]bool{}
	for program, pkg := range wanted {
		if _, err := exec.LookPath(program); err != nil {
			missing[pkg] = true
		}
	}
	for _, dir := range cniFolders {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			cniPlugins = dir
		}
	}
	if cniPlugins == "" {
		missing["containernetworking-plugins"] = true
	}
	if len(missing) > 0 {
		var list []string
		for pkg := range missing {
			list = append(list, pkg)
		}
		return "", fmt.Errorf("this machine lacks what nodes are made of: apt-get install --no-install-recommends %s", strings.Join(list, " "))
	}
	return cniPlugins, nil
}

// clusterFolders is the plan of the cgroups: one folder for the cluster below this process's own in each hierarchy, so that limits of
// whoever started it hold for it as well.
func clusterFolders() ([]folder, error) {
	all, err := hierarchies()
	if err != nil {
		return nil, err
	}
	if err := checkCgroups(all); err != nil {
		return nil, err
	}
	name := "signpost-" + strings.ToLower(rand.Text()[:8])
	var folders []folder
	for _, h := range all {
		folders = append(folders, folder{Options: h.options, Path: filepath.Join(h.own, name)})
	}
	return folders, nil
}
