//go:build linux

package netlab

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Init must be the first thing a program does that runs itself in a [Sandbox]. In an ordinary process it does nothing.
// In process 1 of a sandbox it sets up the namespaces, runs the program as process 2 and never returns. In process 2
// it notes that the program is [Inside] and returns.
func Init() {
	initCalled = true
	text, ok := os.LookupEnv(roleEnv)
	if !ok {
		return
	}
	os.Unsetenv(roleEnv)
	var as role
	if err := json.Unmarshal([]byte(text), &as); err != nil {
		fmt.Fprintf(os.Stderr, "netlab: read %s: %v\n", roleEnv, err)
		os.Exit(1)
	}
	if !as.Init {
		inside = true
		return
	}
	os.Exit(runInit(as))
}

// runInit is the life of process 1; it returns the exit code. When it ends the kernel kills the rest of the sandbox.
func runInit(as role) int {
	unix.CloseOnExec(lifelineFd)
	unix.CloseOnExec(reportFd)
	go func() {
		// The starter holds the other end and never writes: this returns when it is gone, even by kill -9.
		io.Copy(io.Discard, os.NewFile(lifelineFd, "lifeline"))
		if as.Scratch != "" {
			os.RemoveAll(as.Scratch)
		}
		os.Exit(128 + int(unix.SIGKILL))
	}()
	report := os.NewFile(reportFd, "report")
	if failed := setUp(); failed != nil {
		json.NewEncoder(report).Encode(failed)
		return 1
	}
	report.Close()
	if as.Probe {
		return 0
	}
	code, err := runProgram()
	if err != nil {
		fmt.Fprintln(os.Stderr, "netlab:", err)
	}
	return code
}

// setUp makes the fresh namespaces usable: no mount travels back to the machine, /proc shows the new processes, the
// loopback interface is up. It also tries what a [Lab] will need, so that a refusal comes early and by name.
func setUp() *failedStep {
	steps := []struct {
		name string
		do   func() error
	}{
		{"make mounts private", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"mount /proc", func() error {
			return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"mount a tmpfs", func() error { return inTmpfs(func(string) error { return nil }) }},
		{"bring up the loopback interface", loopbackUp},
		{"create a bridge", func() error { return tryLink(&netlink.Bridge{LinkAttrs: named("try0")}) }},
		{"create a veth pair", func() error { return tryLink(&netlink.Veth{LinkAttrs: named("try0"), PeerName: "try1"}) }},
		{"create a network namespace", func() error { return onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }) }},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			return &failedStep{Step: step.name, Err: err.Error(), Errno: errnoOf(err)}
		}
	}
	return nil
}

func named(name string) netlink.LinkAttrs {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	return attrs
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(lo)
}

func tryLink(link netlink.Link) error {
	if err := netlink.LinkAdd(link); err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// runProgram runs this executable again as the program, and reaps every orphan of the sandbox until it ends.
func runProgram() (int, error) {
	as, err := json.Marshal(role{})
	if err != nil {
		return 1, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, fmt.Errorf("find this program's own file: %w", err)
	}
	program, err := os.StartProcess(self, os.Args, &os.ProcAttr{
		Env:   append(os.Environ(), roleEnv+"="+string(as)),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		return 1, fmt.Errorf("start %s in the sandbox: %w", self, err)
	}
	// init must not take part in the terminal's signals: the program decides what an interrupt means.
	ignoreTerminalSignals()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 1, fmt.Errorf("wait for the program: %w", err)
		case pid == program.Pid:
			return exitCode(status), nil
		}
	}
}
