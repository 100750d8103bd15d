//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// Environment of the test binary when it is to be the playground, or a program that runs one.
const (
	playEnv   = "PLAYGROUND_TEST_RUN"
	markerEnv = "PLAYGROUND_TEST_MARKER" // every process of a playground inherits it
)

func TestMain(m *testing.M) {
	if os.Getenv(playEnv) == "playground" {
		main()
	}
	netlab.Init()
	switch {
	case os.Getenv(playEnv) == "refused":
		os.Exit(runRefused())
	case netlab.Inside():
		panic("a sandbox runs the tests again")
	}
	code := m.Run()
	if cloneDir != "" {
		os.RemoveAll(cloneDir)
	}
	os.Exit(code)
}

// cloneDir is the folder of [clone], removed after the tests.
var cloneDir string

// runRefused runs a playground where no network namespaces may be made.
func runRefused() int {
	if !netlab.Inside() {
		code, err := (&netlab.Sandbox{Stdout: os.Stdout, Stderr: os.Stderr}).Run(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return code
	}
	if err := os.WriteFile("/proc/sys/user/max_net_namespaces", []byte("0"), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv(playEnv, "playground")
	fmt.Fprintln(os.Stderr, syscall.Exec("/proc/self/exe", []string{"playground"}, os.Environ()))
	return 1
}
