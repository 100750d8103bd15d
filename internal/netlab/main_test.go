//go:build linux

package netlab

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// helperEnv makes the test binary play another program: the tests run it in sandboxes of their own.
const helperEnv = "NETLAB_TEST_HELPER"

func TestMain(m *testing.M) {
	Init()
	if name := os.Getenv(helperEnv); name != "" {
		os.Exit(helpers[name]())
	}
	Enter()
	goleak.VerifyTestMain(m)
}

// helpers are the programs, by name; each returns its exit code.
var helpers = map[string]func() int{
	"exit 7":    func() int { return 7 },
	"kill self": func() int { mustKillSelf(); return 0 },
	"who am I":  func() int { fmt.Printf("inside %v uid %d\n", Inside(), os.Getuid()); return 0 },
	"build a lab and leave it": func() int {
		return report(buildAndLeave())
	},
	"build a lab and wait": func() int {
		return report(buildAndWait())
	},
	"confined":               func() int { return report(probeConfined()) },
	"probe":                  func() int { return report((&Sandbox{}).Probe(context.Background())) },
	"run a sandbox and wait": func() int { return report(runAndWait()) },
	"environment":            func() int { fmt.Println(os.Getenv(roleEnv) == "" && os.Getenv("LEFT") == "alone"); return 0 },
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
