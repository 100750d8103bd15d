// Package hostile tests that a Service is served whatever happens around it. The objects of another namespace, which are
// random and meant to do harm, change neither its routes nor its names, and do not delay it. After faults (a forwarder
// that is killed, rules that another program flushes, another mode, an API that fails) the kernel is as after a fresh start.
//
// Each test begins new states until its time is over:
//
//	go test ./test/hostile -hostile.for 10m -timeout 2h
//
// A failure prints the command that repeats its state.
package hostile

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
)

var (
	seedFlag = flag.Uint64("hostile.seed", 1, "where the random states begin")
	forFlag  = flag.Duration("hostile.for", 2*time.Second, "how long each test begins new states")
	programs = flag.String("hostile.programs", "", "the folder of the programs to test; otherwise they are compiled")
)

// root is the top of the repository, seen from this package.
const root = "../.."

func TestMain(m *testing.M) {
	if args := os.Getenv(beLimited); args != "" {
		runLimited()
	}
	netlab.Init()
	flag.Parse()
	if !netlab.Inside() && *programs == "" {
		// What a build needs of a network, while there is one.
		if _, err := goTool("list", "-deps", "./cmd/forwarder", "./cmd/coredns"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	netlab.Enter()
	var err error
	if built, err = os.MkdirTemp("", "hostile"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) { _ = os.RemoveAll(built); os.Exit(code) }))
}

// goTool runs go at the top of the repository and returns what it prints.
func goTool(args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", cmd, err, errs.Bytes())
	}
	return string(bytes.TrimSpace(out.Bytes())), nil
}

// states calls f with the dice of one state after the other, at least one, until the time is over. A failure says how to
// repeat the state. Nothing that a state began may be left.
func states(t *testing.T, f func(t *testing.T, d dice)) {
	t.Helper()
	begin, before := time.Now(), possessions()
	for seed := *seedFlag; ; seed++ {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { f(t, newDice(seed)) }) {
			t.Fatalf("to repeat this state: go test ./test/hostile -run '^%s$' -hostile.seed %d -hostile.for 0", t.Name(), seed)
		}
		for deadline := time.Now().Add(10 * time.Second); possessions().exceed(before); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("state %d left %+v, before it there were %+v", seed, possessions(), before)
			}
			runtime.GC() // package net keeps pipes for io.Copy until then
		}
		if time.Since(begin) >= *forFlag {
			t.Logf("states %d to %d", *seedFlag, seed)
			return
		}
	}
}

// belongings are what a process can leave behind, by count.
type belongings struct{ files, processes, networks int }

// exceed reports whether b has more of something. It may have less: a test that failed before may have left something then.
func (b belongings) exceed(before belongings) bool {
	return b.files > before.files || b.processes > before.processes || b.networks > before.networks
}

// possessions counts what this process has.
func possessions() (o belongings) {
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		o.files = len(files)
	}
	networks := map[string]bool{}
	threads, _ := filepath.Glob("/proc/self/task/*")
	for _, thread := range threads {
		if network, err := os.Readlink(thread + "/ns/net"); err == nil {
			networks[network] = true
		}
		children, _ := os.ReadFile(thread + "/children")
		o.processes += len(strings.Fields(string(children)))
	}
	o.networks = len(networks)
	return o
}
