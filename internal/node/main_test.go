package node

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// The tests change addresses and sysctls: those of a private network namespace.
func TestMain(m *testing.M) {
	netlab.Enter()
	goleak.VerifyTestMain(m)
}
