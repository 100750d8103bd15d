package ipvs

import (
	"log/slog"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
)

func TestMain(m *testing.M) {
	netlab.Enter()
	goleak.VerifyTestMain(m)
}

// guestEnv is set where the kernel is there to have IPVS: see package test/guest.
const guestEnv = "SIGNPOST_GUEST"

// needIPVS skips the test on kernels without IPVS. That is no failure with CI=true, for the guest's
// kernel has it, and there it is one.
func needIPVS(t testing.TB) {
	t.Helper()
	netlab.Need(t)
	if _, err := netlink.GenlFamilyGet("IPVS"); err == nil {
		return
	}
	why := "this kernel has no IPVS (module ip_vs): go test ./test/guest -run IPVS runs this on one that has"
	if os.Getenv(guestEnv) != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// ownNetwork is netlab's, with the loopback interface up.
func ownNetwork(t testing.TB) {
	t.Helper()
	needIPVS(t)
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
