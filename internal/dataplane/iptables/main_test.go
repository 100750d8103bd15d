package iptables

import (
	"log/slog"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

func TestMain(m *testing.M) {
	netlab.Enter()
	// The machine's lock file is root's, and nobody else writes rules into namespaces of tests.
	lock, err := os.CreateTemp("", "xtables-lock")
	if err == nil {
		err = os.Setenv("XTABLES_LOCKFILE", lock.Name())
	}
	if err != nil {
		panic(err)
	}
	lock.Close()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.Remove(lock.Name())
		os.Exit(code)
	}))
}

// ownNetwork gives the test a network namespace of its own, which ends with it.
func ownNetwork(t testing.TB) {
	t.Helper()
	netlab.Need(t)
	runtime.LockOSThread() // and never unlock: the thread ends with the test, and the namespace with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("unshare the network namespace: %v", err)
	}
}

// backends are those that this machine has programs for.
func backends(t testing.TB) []Tools {
	t.Helper()
	var found []Tools
	for _, backend := range []string{"nft", "legacy"} {
		if _, err := run(t.Context(), nil, tools(backend).Save, "-V"); err != nil {
			skip(t, err.Error()+" (apt-get install iptables)")
		}
		found = append(found, tools(backend))
	}
	return found
}

func open(t testing.TB, tools Tools) *Dataplane {
	t.Helper()
	d, err := Open(Options{Tools: tools, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// skip skips the test; with CI=true it fails it.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal("with CI=true nothing is skipped: " + why)
	}
	t.Skip(why)
}
