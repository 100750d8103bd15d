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
	"testing"

	"golang.org/x/sys/unix"
)

// machine is what a cluster must leave as it was: mounts, kernel parameters, network, the folders that nodes
// cover. Its cgroups are known by name, see [gone]. Its network namespaces have no names, and those of its pods
// have theirs in the nodes' own /run: a network namespace with a name here belongs to other work on the machine.
func machine() map[string]string {
	all := map[string]string{}
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return ""
		}
		return string(b)
	}
	for line := range strings.Lines(read("/proc/thread-self/mounts")) {
		if target := strings.Fields(line)[1]; target != namedNetworks && filepath.Dir(target) != namedNetworks {
			all["mounts"] += line
		}
	}
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
	for _, dir := range []string{"/run", "/var/lib", "/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/etc/cni", "/var/log/pods", "/var/log/containers"} {
		entries, err := os.ReadDir(dir)
		all["folder "+dir] = fmt.Sprint(err)
		for _, e := range entries {
			// Whoever lists the machine's rules makes the lock, and the first name of a network namespace the folder.
			if e.Name() != "xtables.lock" && filepath.Join(dir, e.Name()) != namedNetworks {
				all[filepath.Join(dir, e.Name())] = "there"
			}
		}
	}
	for _, args := range [][]string{{"ip", "-o", "link"}, {"ip", "route"}, {"nft", "--stateless", "list", "ruleset"}} {
		out, _ := exec.Command(args[0], args[1:]...).CombinedOutput()
		all[strings.Join(args, " ")] = string(out)
	}
	return all
}

// namedNetworks is where ip-netns(8) keeps the names of network namespaces.
const namedNetworks = "/run/netns"

// TestMachineWithOtherWork names network namespaces as other work on the machine does, and mounts something as a
// cluster must not: only that is a change. Both happen in a mount namespace of the test's own.
func TestMachineWithOtherWork(t *testing.T) {
	needCluster(t)
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
			return err
		}
		before := machine()
		for _, name := range []string{"one", "cni-two"} {
			if out, err := exec.Command("ip", "netns", "add", name).CombinedOutput(); err != nil {
				return fmt.Errorf("ip netns add %s: %w\n%s", name, err, out)
			}
		}
		if diff := changed(before, machine()); diff != "" {
			t.Errorf("network namespaces of other work: got a change, want none:\n%s", diff)
		}
		if err := os.Mkdir("/run/left", 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", "/run/left", "tmpfs", 0, ""); err != nil {
			return err
		}
		if diff := changed(before, machine()); !strings.Contains(diff, "mounts: ") || !strings.Contains(diff, "/run/left: ") {
			t.Errorf("a folder and a mount that are left: got %q, want both", diff)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
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
