package nftables

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/nft"
)

// hold is another process that has the tables.
func hold() {
	d, err := Open(Options{})
	if err == nil {
		err = d.Sync(context.Background(), testHost, mixedTable())
	}
	fmt.Println("synced:", err)
	select {}
}

// TestKilledProcessLeavesTheRules kills the owner of the tables with signal 9.
func TestKilledProcessLeavesTheRules(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, owned)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "synced: <nil>\n" {
		t.Fatalf("the other process says %q, %v", line, err)
	}
	want := fmt.Sprintf("process %d (", cmd.Process.Pid)
	if err := d.Sync(context.Background(), testHost, mixedTable()); !errors.Is(err, dataplane.ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("Sync while the other process lives: %v; want %v with %q", err, dataplane.ErrInUse, want)
	}
	if err := Cleanup(context.Background()); !errors.Is(err, dataplane.ErrInUse) || !strings.Contains(err.Error(), want) {
		t.Errorf("Cleanup while the other process lives: %v; want %v with %q", err, dataplane.ErrInUse, want)
	}
	before := mustNFT(t, "", "list", "ruleset")
	cmd.Process.Kill()
	cmd.Wait()
	if diff := cmp.Diff(sorted(before), sorted(mustNFT(t, "", "list", "ruleset"))); diff != "" {
		t.Errorf("kill -9 changed the rules: %s", diff)
	}
	mustSync(t, d, mixedTable())
	if d.conn.Commits() != 2 {
		t.Errorf("%d commits to take over, want 2: the new owner of each table", d.conn.Commits())
	}
}

func TestCleanupLeavesNothing(t *testing.T) {
	for name, o := range map[string]Options{"shared": shared, "owned": owned} {
		t.Run(name, func(t *testing.T) {
			netlab.OwnNetwork(t)
			mustNFT(t, "add table ip firewall", "-f", "-")
			d := open(t, o)
			mustSync(t, d, mixedTable())
			spare := newTable(d.conn, newLayout(nft.IPv6, testHost), spareName)
			if err := d.install(context.Background(), spare, desired{}); err != nil {
				t.Fatal(err)
			}
			d.Close() // its tables are orphans now
			if err := Cleanup(context.Background()); err != nil {
				t.Fatal(err)
			}
			if rules := mustNFT(t, "", "list", "ruleset"); rules != "table ip firewall {\n}\n" {
				t.Errorf("left over:\n%s", rules)
			}
			if err := Cleanup(context.Background()); err != nil {
				t.Errorf("a second Cleanup: %v", err)
			}
		})
	}
}

// TestLeftOverSpareTable is a process that was killed while it built a table anew.
func TestLeftOverSpareTable(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, owned)
	for _, f := range families {
		if err := d.install(context.Background(), newTable(d.conn, newLayout(f, testHost), spareName), desired{host: testHost}); err != nil {
			t.Fatal(err)
		}
	}
	d.Close()
	d = open(t, owned)
	mustSync(t, d, mixedTable())
	if rules := mustNFT(t, "", "list", "tables"); strings.Contains(rules, spareName) {
		t.Errorf("tables after a Sync:\n%s", rules)
	}
}

// TestHostChanges gives the same tables other addresses and networks, one after
// the other, and compares the kernel with the text for each.
func TestHostChanges(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	table := mixedTable()
	rapid.Check(t, func(rt *rapid.T) {
		host := dataplane.Host{MasqueradeMark: rapid.SampledFrom([]uint32{0x4000, 0x4000, 0x1, 1 << 31}).Draw(rt, "mark")}
		for range rapid.IntRange(0, 3).Draw(rt, "addresses") {
			host.NodePortAddrs = append(host.NodePortAddrs, netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(rt, "byte")}))
		}
		for range rapid.IntRange(0, 5).Draw(rt, "networks") {
			a := netip.AddrFrom4([4]byte{rapid.SampledFrom([]byte{0, 10, 255}).Draw(rt, "first byte"), rapid.Byte().Draw(rt, "second byte")})
			bits := rapid.SampledFrom([]int{0, 1, 8, 9, 16, 24, 32}).Draw(rt, "bits")
			if bits == 0 {
				bits = rapid.SampledFrom([]int{0, 8, 8, 8, 8, 8, 8, 8}).Draw(rt, "all")
			}
			host.Pods.CIDRs = append(host.Pods.CIDRs, netip.PrefixFrom(a, bits))
		}
		if err := d.Sync(context.Background(), host, table); err != nil {
			rt.Fatal(err)
		}
		l := newLayout(nft.IPv4, host)
		m := newMade()
		for r := range table.All() {
			if r.Addr.Is4() {
				l.need(r, m)
			}
		}
		found, err := findElements(d.conn, l, ourTable(l.Family), m)
		if err != nil {
			rt.Fatal(err)
		}
		wanted := map[key]bool{}
		for _, k := range intervals(nft.IPv4, host.Pods.CIDRs) {
			wanted[k] = true
		}
		if diff := cmp.Diff(wanted, found.podCIDRs, cmp.AllowUnexported(key{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			rt.Fatalf("networks: %s", diff)
		}
		if diff := cmp.Diff(l.nodeAddrKeys(host), found.nodeAddrs, cmp.AllowUnexported(key{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			rt.Fatalf("addresses: %s", diff)
		}
		before := d.conn.Commits()
		if err := d.Sync(context.Background(), host, table); err != nil || d.conn.Commits() != before {
			rt.Fatalf("a second Sync: %v, %d commits", err, d.conn.Commits()-before)
		}
	})
}

// TestIntervals holds the elements of a set of networks against the networks, address by address.
func TestIntervals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var networks []netip.Prefix
		for range rapid.IntRange(0, 6).Draw(t, "networks") {
			a := netip.AddrFrom4([4]byte{rapid.SampledFrom([]byte{0, 1, 255}).Draw(t, "first"), 0, 0, rapid.Byte().Draw(t, "last")})
			networks = append(networks, netip.PrefixFrom(a, rapid.SampledFrom([]int{7, 8, 9, 30, 31, 32}).Draw(t, "bits")))
		}
		keys := intervals(nft.IPv4, networks)
		for i, k := range keys[:max(0, len(keys)-1)] {
			if !k.addr.Less(keys[i+1].addr) || k.end == keys[i+1].end {
				t.Fatalf("%v: %v are no intervals", networks, keys)
			}
		}
		for _, first := range []byte{0, 1, 2, 3, 127, 128, 254, 255} {
			for last := range 256 {
				a := netip.AddrFrom4([4]byte{first, 0, 0, byte(last)})
				if got, want := inIntervals(keys, a), inNetworks(networks, a); got != want {
					t.Fatalf("%v in %v: %v, as intervals %v: %v", a, networks, want, keys, got)
				}
			}
		}
	})
}

func inIntervals(keys []key, a netip.Addr) bool {
	in := false
	for _, k := range keys {
		if !a.Less(k.addr) {
			in = !k.end
		}
	}
	return in
}

func inNetworks(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// TestFilesAreClosed counts the open files of the process.
func TestFilesAreClosed(t *testing.T) {
	netlab.OwnNetwork(t)
	files := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	use := func() {
		d, err := Open(owned)
		if err != nil {
			t.Fatal(err)
		}
		mustSync(t, d, mixedTable())
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(Probe(), Cleanup(context.Background())); err != nil {
			t.Fatal(err)
		}
	}
	use()
	before := files()
	for range 5 {
		use()
	}
	if now := files(); now != before {
		t.Errorf("%d open files, before %d", now, before)
	}
}
