package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// machine is what a cluster must leave as it was: mounts, kernel parameters, network, the folders that nodes
// cover. Its cgroups are known by name, see [gone].
func machine() map[string]string {
	all := map[string]string{}
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return string(b)
	}
	all["mounts"] = read("/proc/self/mounts")
	// What can be written is a setting; what can only be read counts something.
	_ = filepath.WalkDir("/proc/sys", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || volatile[path] {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode()&0o200 != 0 && info.Mode()&0o400 != 0 {
			all[path] = read(path)
		}
		return nil
	})
	for _, dir := range []string{"/run", "/run/netns", "/var/lib", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/etc/cni", "/var/log/pods", "/var/log/containers"} {
		entries, err := os.ReadDir(dir)
		all["folder "+dir] = fmt.Sprint(err)
		for _, e := range entries {
			if e.Name() != "xtables.lock" { // whoever lists the machine's rules makes it
				all[filepath.Join(dir, e.Name())] = "there"
			}
		}
	}
	for _, args := range [][]string{{"ip", "-o", "link"}, {"ip", "route"}, {"ip", "netns"}, {"nft", "--stateless", "list", "ruleset"}} {
		out, _ := exec.Command(args[0], args[1:]...).CombinedOutput()
		all[strings.Join(args, " ")] = string(out)
	}
	return all
}

// volatile are parameters that change by themselves.
var volatile = map[string]bool{
	"/proc/sys/kernel/ns_last_pid":      true,
	"/proc/sys/kernel/random/uuid":      true,
	"/proc/sys/fs/binfmt_misc/register": true,
}

// changed tells what differs.
func changed(before, after map[string]string) string {
	both := maps.Clone(before)
	maps.Copy(both, after)
	var diff []string
	for _, key := range slices.Sorted(maps.Keys(both)) {
		if before[key] != after[key] {
			diff = append(diff, fmt.Sprintf("%s: was %q, is %q", key, before[key], after[key]))
		}
	}
	return strings.Join(diff, "\n")
}
