package iptables

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
)

func TestMain(m *testing.M) {
	flag.Parse()
	netlab.Init()
	if !netlab.Inside() && !testing.Short() {
		fetchNewest() // a sandbox has no network
	}
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

// installed are the backends that this machine has programs for.
func installed(t testing.TB) []Tools {
	t.Helper()
	var found []Tools
	for _, backend := range backends {
		if _, err := run(t.Context(), nil, tools(backend).Save, "-V"); err != nil {
			netlab.Skip(t, err.Error()+" (apt-get install iptables)")
		}
		found = append(found, tools(backend))
	}
	return found
}

// A generation is a version and backend of the programs that a node may have.
type generation struct {
	name string
	get  func(testing.TB) Tools // skips the test where it is not to be had
}

// generations are the backends of this machine, as the image has them, and the newest programs of Debian.
func generations(t testing.TB) (list []generation) {
	for _, tools := range installed(t) {
		list = append(list, generation{tools.Backend(), func(testing.TB) Tools { return tools }})
	}
	return append(list, generation{"newest nft", newest})
}

func open(t testing.TB, tools Tools) *Dataplane {
	t.Helper()
	d, err := Open(Options{Tools: tools, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// intact has d look at the kernel.
func intact(d *Dataplane) (bool, error) {
	state, err := d.Tick(context.Background(), time.Now())
	return !state.Changed, errors.Join(err, state.Unseen)
}
