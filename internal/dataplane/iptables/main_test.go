package iptables

import (
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

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

// backends are those that this machine has programs for.
func backends(t testing.TB) []Tools {
	t.Helper()
	var found []Tools
	for _, backend := range []string{"nft", "legacy"} {
		if _, err := run(t.Context(), nil, tools(backend).Save, "-V"); err != nil {
			netlab.Skip(t, err.Error()+" (apt-get install iptables)")
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
