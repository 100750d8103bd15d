package ipvs

import (
	"log/slog"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
)

func TestMain(m *testing.M) {
	netlab.Enter()
	goleak.VerifyTestMain(m)
}

// ownNetwork is netlab's, with the loopback interface up.
func ownNetwork(t testing.TB) {
	t.Helper()
	netlab.NeedIPVS(t)
	netlab.OwnNetwork(t)
	lo, err := netlink.LinkByName("lo") // without addresses IPVS takes no backends
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, o Options) *Dataplane {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
