package ipvs

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
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

// intact has d look at the kernel.
func intact(d *Dataplane) (bool, error) {
	state, err := d.Tick(context.Background(), d.looked.Add(lookPeriod))
	return !state.Changed, errors.Join(err, state.Unseen)
}

// applyAll is Apply, and all of what it leaves.
func applyAll(d *Dataplane, changes []vip.Change) error {
	if _, err := d.Apply(context.Background(), changes); err != nil {
		return err
	}
	return d.finish(context.Background())
}
