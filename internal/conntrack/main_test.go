package conntrack

import (
	"os"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// The tests fill and empty tables of tracked flows: those of private namespaces. A
// fuzz worker talks to its parent by inherited files, and needs no kernel.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-test.fuzzworker") {
		os.Exit(m.Run())
	}
	netlab.Enter()
	goleak.VerifyTestMain(m)
}
