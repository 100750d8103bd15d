// Command init is process 1 of a guest. It mounts what programs expect, loads the
// modules, runs the test binary, tells its exit code on the console, and switches
// the machine off. Its arguments stand in files, because a kernel command line is short.
//
// It is the guest's modprobe too, which the kernel calls when it needs a module.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// exitMark stands before the exit code on the console; package guest looks for it.
const exitMark = "@@ guest exit "

func main() {
	if filepath.Base(os.Args[0]) == "modprobe" {
		if err := modprobe(os.Args[len(os.Args)-1]); err != nil {
			os.Exit(1) // the kernel goes on without
		}
		return
	}
	code, err := run()
	if err != nil {
		fmt.Println("init:", err)
	}
	fmt.Printf("\n%s%d\n", exitMark, code)
	unix.Sync()
	unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
}

// run does it all and returns the exit code of the test binary.
func run() (int, error) {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return 1, err
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return 1, fmt.Errorf("mount %s at %s: %w", m.kind, m.at, err)
		}
	}
	if err := os.Chmod("/tmp", 0o1777); err != nil {
		return 1, err
	}
	if err := load("/modules"); err != nil {
		return 1, err
	}
	if err := trackMore(); err != nil {
		return 1, err
	}
	args, err := lines("/args")
	if err != nil {
		return 1, err
	}
	cmd := exec.Command("/test/binary", args...)
	cmd.Dir, cmd.Env = "/test", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "TMPDIR=/tmp"}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("run the test binary: %w", err)
	}
	return 0, nil
}

// trackMore has the kernel track as many connections as one with much memory does. A guest has little, and
// the tests of a minute, each connection of which is remembered for two, would fill its table: then
// packets are dropped that no rule drops.
func trackMore() error {
	const connections = "262144"
	for _, file := range []string{"/sys/module/nf_conntrack/parameters/hashsize", "/proc/sys/net/netfilter/nf_conntrack_max"} {
		err := os.WriteFile(file, []byte(connections), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // not there: no test tracks any
			return err
		}
	}
	return nil
}

// load inserts the modules in the order of their list.
func load(dir string) error {
	names, err := lines(dir + "/order")
	if err != nil {
		return err
	}
	return insert(dir, names)
}

// insert inserts modules, unless they are there.
func insert(dir string, names []string) error {
	for _, name := range names {
		f, err := os.Open(dir + "/" + name)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, syscall.EEXIST) {
			return fmt.Errorf("load module %s: %w", name, err)
		}
	}
	return nil
}

// modprobe inserts what the kernel asks for by a name, if it is in the list of what may be.
func modprobe(name string) error {
	const dir = "/modules"
	list, err := lines(dir + "/on-demand")
	if err != nil {
		return err
	}
	for _, line := range list {
		if words := strings.Fields(line); words[0] == strings.ReplaceAll(name, "-", "_") {
			return insert(dir, words[1:])
		}
	}
	return fmt.Errorf("no module is called %s", name)
}

// lines reads a file of one item a line.
func lines(file string) ([]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	if len(text) == 0 {
		return nil, nil
	}
	return strings.Split(string(text), "\n"), nil
}
