package nftables

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

func TestMain(m *testing.M) {
	netlab.Enter()
	goleak.VerifyTestMain(m)
}

// inNetwork runs f in a network namespace of its own, which ends with it.
func inNetwork(t testing.TB, f func()) {
	t.Helper()
	netlab.Need(t)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends, and the namespace with it
		err := unix.Unshare(unix.CLONE_NEWNET)
		defer func() { done <- err }()
		if err == nil {
			f()
		}
	}()
	if err := <-done; err != nil {
		t.Fatalf("unshare the network namespace: %v", err)
	}
}

// nft runs the tool of the distribution. It skips the test where there is none.
func nft1(t testing.TB, input string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("with CI=true nothing is skipped: %v (apt-get install nftables)", err)
		}
		t.Skipf("%v (apt-get install nftables)", err)
	}
	cmd := exec.Command("nft", args...)
	cmd.Stdin = bytes.NewBufferString(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("nft %v: %w\n%s", args, err, out)
	}
	return string(out), err
}

var testHost = dataplane.Host{
	NodePortAddrs:  []netip.Addr{netip.MustParseAddr("172.30.0.11"), netip.MustParseAddr("fd00:30::11")},
	PodCIDRs:       []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48")},
	MasqueradeMark: 0x4000,
}

func testTable(services, backends int) *vip.Table {
	t := vip.NewTable()
	for i := range services {
		k := cluster.Key{Namespace: "default", Name: fmt.Sprintf("service-%d", i)}
		t.Set(k, []*vip.Route{testRoute(i, backends)})
	}
	return t
}

func testRoute(i, backends int) *vip.Route {
	k := cluster.Key{Namespace: "default", Name: fmt.Sprintf("service-%d", i)}
	r := &vip.Route{
		Frontend: vip.Frontend{Addr: netip.AddrFrom4([4]byte{10, 96 + byte(i>>16), byte(i >> 8), byte(i)}), Port: 80, Protocol: cluster.TCP},
		Owner:    vip.Owner{Service: k, Port: "http"},
		Created:  int64(i),
	}
	for c := range r.Decisions {
		if backends == 0 {
			r.Decisions[c].Action = vip.Reject
		} else {
			r.Decisions[c].Masquerade = vip.Class(c) != vip.FromPod
		}
	}
	for b := range backends {
		n := i*backends + b
		r.Backends = append(r.Backends, vip.Backend{
			AddrPort: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244 + byte(n>>16), byte(n >> 8), byte(n)}), 8080)})
	}
	return r
}

func TestSmoke(t *testing.T) {
	inNetwork(t, func() {
		d, err := Open(Options{Shared: true})
		if err != nil {
			t.Error(err)
			return
		}
		defer d.Close()
		t.Logf("limit %d forced %v", d.conn.limit, d.conn.forced)
		tb := testTable(3, 5)
		if err := d.Sync(context.Background(), testHost, tb); err != nil {
			t.Error(err)
			return
		}
		out, err := nft1(t, "", "list", "ruleset")
		t.Log(out, err)
		if err := d.Sync(context.Background(), testHost, tb); err != nil {
			t.Error(err)
			return
		}
		t.Log(d.conn.commits)
	})
}
