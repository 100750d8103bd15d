//go:build linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TB is the part of [testing.TB] that [New] needs.
type TB interface {
	Helper()
	Cleanup(func())
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// refusedHere is why this test process is not in a sandbox; set once, by [Enter].
var refusedHere error

// Enter makes a test binary run inside a [Sandbox]; call it first in TestMain. Outside, it runs the binary again inside,
// with the same arguments, and exits with its code. Inside, it returns. If the machine refuses it returns too, and [New]
// will skip the tests that need a lab; with CI=true in the environment it lets them fail. Root keeps its privileges.
func Enter() {
	Init()
	if inside {
		return
	}
	if slices.Contains(os.Args, "-test.fuzzworker") {
		// The go command's fuzzing talks to this process by files that a sandbox does not pass on.
		refusedHere = errors.New("a worker of go test -fuzz builds no labs")
		return
	}
	ctx, cancel := WithGoTool(context.Background())
	defer cancel()
	box := Sandbox{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		NoUserNamespace: true,
	}
	code, err := box.Run(ctx)
	if refused, ok := errors.AsType[*Refused](err); ok {
		refusedHere = refused
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(code)
}

// New builds a lab for one test and closes it with the test.
func New(t TB, config Config) *Lab {
	t.Helper()
	Need(t)
	lab, err := Build(config)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(lab.Close)
	return lab
}

// Need skips the test where the machine allows no sandbox; with CI=true it fails it.
func Need(t TB) {
	t.Helper()
	switch {
	case inside:
	case refusedHere == nil:
		t.Fatalf("this test is not in a sandbox: expected netlab.Enter in TestMain")
	default:
		Skip(t, refusedHere.Error())
	}
}

// NeedIPVS skips the test on kernels without IPVS. That is no failure with CI=true: package test/guest runs such tests on
// a kernel that has it, and fails for what is skipped there.
func NeedIPVS(t TB) {
	t.Helper()
	Need(t)
	if _, err := netlink.GenlFamilyGet("IPVS"); err != nil {
		t.Skipf("this kernel has no IPVS (module ip_vs): go test ./test/guest -run IPVS runs this on one that has")
	}
}

// Skip skips a test for what this machine lacks; with CI=true it fails it.
func Skip(t TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("with CI=true nothing is skipped: %s", why)
	} else {
		t.Skipf("%s", why)
	}
}

// OwnNetwork gives the test a network namespace of its own, which ends with it: the thread that
// the test runs on is in it, and goes when the test is over.
func OwnNetwork(t TB) {
	t.Helper()
	Need(t)
	runtime.LockOSThread() // and never unlock
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare the network namespace: %v", err)
	}
}
