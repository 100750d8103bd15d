package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchy is one cgroup v1 hierarchy and where this process is in it.
type hierarchy struct {
	options string // of its mount: "cpu,cpuacct", or "none,name=systemd"
	mount   string // where it is mounted
	own     string // the folder of this process
}

// hierarchies returns the cgroup v1 hierarchies of the machine. There are none where only cgroup v2 is mounted.
func hierarchies() ([]hierarchy, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	var all []hierarchy
	for line := range strings.Lines(string(b)) {
		// 4:memory:/some/where, cgroups(7)
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] == "" {
			continue // the unified hierarchy
		}
		mount, ok := mounts[parts[1]]
		if !ok {
			continue // in the kernel, and nobody uses it
		}
		options := parts[1]
		if strings.HasPrefix(options, "name=") {
			options = "none," + options
		}
		all = append(all, hierarchy{options: options, mount: mount, own: filepath.Join(mount, parts[2])})
	}
	return all, nil
}

// cgroupMounts finds where each v1 hierarchy is mounted, by its controllers as /proc/self/cgroup spells them.
func cgroupMounts() (map[string]string, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mounts := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[2] != "cgroup" {
			continue
		}
		var controllers []string
		for _, o := range strings.Split(fields[3], ",") {
			if strings.HasPrefix(o, "name=") || slices.Contains(v1Controllers, o) {
				controllers = append(controllers, o)
			}
		}
		mounts[strings.Join(controllers, ",")] = fields[1]
	}
	return mounts, nil
}

// v1Controllers tells controllers from other options of a mount (cgroups(7)).
var v1Controllers = []string{
	"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "net_cls", "blkio", "perf_event", "net_prio", "hugetlb", "pids", "rdma", "misc",
}

// checkCgroups says in time what the nodes need and this machine has not.
func checkCgroups(all []hierarchy) error {
	for _, want := range []string{"cpu", "memory", "pids", "cpuset"} {
		if !slices.ContainsFunc(all, func(h hierarchy) bool { return slices.Contains(strings.Split(h.options, ","), want) }) {
			return fmt.Errorf("this machine has no cgroup v1 hierarchy with the controller %s: the nodes of the cluster need cgroup v1 (boot with systemd.unified_cgroup_hierarchy=0); only cgroup v2 is not supported yet", want)
		}
	}
	return nil
}

// makeCgroup makes a folder in a hierarchy, usable at once.
func makeCgroup(h hierarchy, folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	if !slices.Contains(strings.Split(h.options, ","), "cpuset") {
		return nil
	}
	// A new cpuset is empty, and takes no process before it has processors and memory.
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		b, err := os.ReadFile(filepath.Join(filepath.Dir(folder), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name), b, 0)
		}
		if err != nil {
			return fmt.Errorf("fill a cpuset: %w", err)
		}
	}
	return nil
}

// enterCgroup moves this process into a folder.
func enterCgroup(folder string) error {
	// 0 is whoever writes it.
	if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("enter a cgroup: %w", err)
	}
	return nil
}

// emptyCgroup kills what is left in a folder and below, and removes it.
func emptyCgroup(folder string) error {
	if _, err := os.Stat(folder); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var folders []string
		_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				folders = append(folders, path)
			}
			return nil // what vanishes meanwhile is what is wanted
		})
		slices.Reverse(folders) // children first
		err = nil
		for _, path := range folders {
			killAll(filepath.Join(path, "cgroup.procs"))
			if e := os.Remove(path); e != nil && !errors.Is(e, os.ErrNotExist) {
				err = e
			}
		}
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("remove the cgroup %s: %w", folder, err)
}

// killAll kills the processes that a file lists.
func killAll(list string) {
	b, err := os.ReadFile(list)
	if err != nil {
		return
	}
	for _, word := range strings.Fields(string(b)) {
		if pid, err := strconv.Atoi(word); err == nil && pid > 1 && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
