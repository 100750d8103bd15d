package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mountNode gives the node its own view of the machine's tree. Nothing of it is seen from outside: it is a
// mount namespace of its own, and its mounts propagate only among the node's pods, which need that.
func mountNode(p place, order nodeOrder) error {
	steps := []mounting{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED, ""},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""}, // of its own network
		{"tmpfs", "/sys/fs/cgroup", "tmpfs", 0, "mode=755"},
	}
	for options := range order.Cgroups {
		name := strings.TrimPrefix(options, "none,name=")
		steps = append(steps, mounting{"cgroup", "/sys/fs/cgroup/" + name, "cgroup", 0, options})
	}
	steps = append(steps,
		mounting{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
		mounting{"tmpfs", "/var/lib", "tmpfs", 0, "mode=755"},
	)
	for name, target := range nodeFolders {
		steps = append(steps, mounting{p.file(order.Name, name), target, "", unix.MS_BIND, ""})
	}
	for name := range hiddenSysctls {
		file := p.file(order.Name, "sysctl", strings.ReplaceAll(name, "/", "."))
		steps = append(steps, mounting{file, "/proc/sys/" + name, "", unix.MS_BIND, ""})
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return err
		}
	}
	return nil
}

// mounting is one call of mount(2). Its target is made if it is not there; that happens only inside file
// systems of the node's own.
type mounting struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func (m mounting) do() error {
	if _, err := os.Stat(m.target); os.IsNotExist(err) {
		if !strings.HasPrefix(m.target, "/var/lib/") && !strings.HasPrefix(m.target, "/sys/fs/cgroup/") {
			if strings.HasPrefix(m.target, "/proc/sys/") {
				return nil // a kernel without it: nobody writes it
			}
			return fmt.Errorf("mount %s: the machine has no such folder", m.target)
		}
		if err := os.MkdirAll(filepath.Clean(m.target), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.source, m.target, err)
	}
	return nil
}
