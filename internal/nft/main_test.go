package nft

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
)

func TestMain(m *testing.M) {
	netlab.Enter()
	goleak.VerifyTestMain(m)
}
