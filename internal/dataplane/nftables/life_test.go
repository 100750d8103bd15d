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
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
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
	ownNetwork(t)
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
	if d.conn.commits != 2 {
		t.Errorf("%d commits to take over, want 2: the new owner of each table", d.conn.commits)
	}
}

func TestCleanupLeavesNothing(t *testing.T) {
	for name, o := range map[string]Options{"shared": shared, "owned": owned} {
		t.Run(name, func(t *testing.T) {
			ownNetwork(t)
			mustNFT(t, "add table ip firewall", "-f", "-")
			d := open(t, o)
			mustSync(t, d, mixedTable())
			spare := newTable(d.conn, newLayout(ip6, 1), spareName)
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
	ownNetwork(t)
	d := open(t, owned)
	for _, f := range families {
		if err := d.install(context.Background(), newTable(d.conn, newLayout(f, 0x4000), spareName), desired{host: testHost}); err != nil {
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

// TestOneRouteCannotStopTheOthers lets the kernel refuse elements: the set of a
// group has room for three.
func TestOneRouteCannotStopTheOthers(t *testing.T) {
	ownNetwork(t)
	full := vip.NewTable()
	for i := range 10 {
		full.Set(service(i), []*vip.Route{testRoute(i, 3)})
	}
	other := testRoute(10, 0) // of another group
	plan, err := Render(testHost, testTable(1, 3))
	if err != nil {
		t.Fatal(err)
	}
	const declared = "set masquerade-node-outside {\n\t\ttype ipv4_addr . inet_proto . inet_service\n"
	small := strings.Replace(plan, declared, declared+"\t\tsize 3\n", 1)
	if small == plan {
		t.Fatalf("no %q in:\n%s", declared, plan)
	}
	mustNFT(t, small, "-f", "-")

	d := open(t, shared)
	full.Set(service(10), []*vip.Route{other})
	err = d.Sync(context.Background(), testHost, full)
	if refused := routesIn(t, err); len(refused) != 7 || !errors.Is(err, unix.ENFILE) {
		t.Fatalf("Sync refuses %v, want 7 routes by %v: %v", refused, unix.ENFILE, err)
	}
	if !strings.Contains(err.Error(), "adding to masquerade-node-outside: 10.96.0.3 . tcp . 80 comment \"default/service-3:http\"") {
		t.Errorf("%v: want that it names the element", err)
	}
	if got := len(kernelState(t, d, ip4)); got != 4 {
		t.Errorf("%d frontends in the kernel, want 4", got)
	}
	mustIntact(t, d, true)

	// The routes that were refused may change and go, and others come.
	changes := full.Set(service(9), []*vip.Route{testRoute(9, 4)})
	if refused := routesIn(t, d.Apply(context.Background(), changes)); len(refused) != 1 {
		t.Errorf("Apply refuses %v, want service-9", refused)
	}
	mustApply(t, d, full.Set(service(8), nil))
	mustApply(t, d, full.Set(service(9), []*vip.Route{testRoute(9, 0)}))
	mustApply(t, d, full.Set(service(0), nil))
	mustApply(t, d, full.Set(service(7), []*vip.Route{testRoute(7, 5)}))
	err = d.Sync(context.Background(), testHost, full)
	if refused := routesIn(t, err); len(refused) != 4 {
		t.Errorf("Sync refuses %v, want the 4 for which there is no room", refused)
	}
	if got := len(kernelState(t, d, ip4)); got != 5 {
		t.Errorf("%d frontends in the kernel, want 5", got)
	}
}

// routesIn are the routes that an error is about; there must be no other error.
func routesIn(t *testing.T, err error) []string {
	t.Helper()
	if fatal(err) {
		t.Fatalf("more than routes: %v", err)
	}
	var routes []string
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) {
		case *dataplane.RouteError:
			routes = append(routes, e.Route.Owner.String())
		case interface{ Unwrap() []error }:
			for _, e := range e.Unwrap() {
				walk(e)
			}
		}
	}
	walk(err)
	return routes
}

// TestRoutesThatCannotBe are refused by themselves, wherever they appear.
func TestRoutesThatCannotBe(t *testing.T) {
	backend := func(s string) []vip.Backend { return []vip.Backend{{AddrPort: netip.MustParseAddrPort(s)}} }
	rows := map[string]struct {
		change func(*vip.Route)
		want   string
	}{
		"IPv4 in IPv6":        {func(r *vip.Route) { r.Addr = addr("::ffff:10.96.0.1") }, "is no address of ip6"},
		"zone":                {func(r *vip.Route) { r.Addr = addr("fe80::1%eth0") }, "is no address of ip6"},
		"no address":          {func(r *vip.Route) { r.Addr = netip.Addr{} }, "is no address of ip6"},
		"protocol":            {func(r *vip.Route) { r.Protocol = 1 }, "protocol 1 is none of tcp, udp, sctp"},
		"port 0":              {func(r *vip.Route) { r.Port = 0 }, "port 0 is no port"},
		"other family":        {func(r *vip.Route) { r.Backends = backend("[fd00::1]:80") }, "backend [fd00::1]:80 has no address of ip"},
		"backend port 0":      {func(r *vip.Route) { r.Backends = backend("10.0.0.1:0") }, "has port 0"},
		"a backend twice":     {func(r *vip.Route) { r.Backends = append(backend("10.0.0.1:80"), backend("10.0.0.1:80")...) }, "must be sorted, none twice"},
		"backends not sorted": {func(r *vip.Route) { r.Backends = append(backend("10.0.0.2:80"), backend("10.0.0.1:80")...) }, "must be sorted, none twice"},
		"too many backends":   {func(r *vip.Route) { r.Backends = make([]vip.Backend, maxSlots+1) }, "65537 backends are more than 65536"},
	}
	ownNetwork(t)
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			bad := *testRoute(1, 2)
			row.change(&bad)
			table := testTable(1, 2)
			table.Set(service(1), []*vip.Route{&bad})
			_, err := Render(testHost, table)
			if routes := routesIn(t, err); len(routes) != 1 || !strings.Contains(err.Error(), row.want) {
				t.Errorf("Render: %v, want %q", err, row.want)
			}
		})
		bad := *testRoute(1, 2)
		row.change(&bad)
		d := open(t, shared)
		table := testTable(1, 2)
		mustSync(t, d, table)
		changes := table.Set(service(1), []*vip.Route{&bad})
		if routes := routesIn(t, d.Apply(context.Background(), changes)); len(routes) != 1 {
			t.Errorf("%s: Apply refuses %v, want service-1", name, routes)
		}
		if routes := routesIn(t, d.Sync(context.Background(), testHost, table)); len(routes) != 1 {
			t.Errorf("%s: Sync refuses %v, want service-1", name, routes)
		}
		mustApply(t, d, table.Set(service(1), []*vip.Route{testRoute(1, 2)}))
		if diff := cmp.Diff(wantedState(ip4, table), kernelState(t, d, ip4), equalAddrPorts); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		mustApply(t, d, table.Set(service(1), nil))
		d.Close()
	}
}

func TestMessagesForPeople(t *testing.T) {
	ownNetwork(t)
	d := open(t, shared)
	ctx := context.Background()
	if err := d.Apply(ctx, nil); err == nil || !strings.Contains(err.Error(), "Sync must come first") {
		t.Errorf("Apply before Sync: %v", err)
	}
	host := testHost
	host.MasqueradeMark = 0x6000
	if err := d.Sync(ctx, host, vip.NewTable()); err == nil || !strings.Contains(err.Error(), "0x6000: expected one bit") {
		t.Errorf("two bits for masquerading: %v", err)
	}
	mustSync(t, d, testTable(2, 2))
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	table := testTable(2, 2)
	if err := d.Apply(canceled, table.Set(service(0), nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply that is canceled: %v", err)
	}
	mustIntact(t, d, false)
	if err := d.Apply(ctx, nil); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "Sync must come first") {
		t.Errorf("Apply after one that was canceled: %v", err)
	}
	mustSync(t, d, table)
	mustIntact(t, d, true)

	// What only Sync can repair: something else is where we want to write.
	mustNFT(t, "add element ip signpost backends-tcp-2 { 10.96.9.9 . 80 . 0 : 10.0.0.9 . 80 }", "-f", "-")
	r := testRoute(1, 2)
	r.Addr = addr("10.96.9.9")
	err := d.Apply(ctx, table.Set(service(3), []*vip.Route{r}))
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "adding to backends-tcp-2: 10.96.9.9 . 80 . 0 : 10.128.0.2 . 8080") {
		t.Errorf("an element in the way: %v", err)
	}
	mustSync(t, d, table)
	if diff := cmp.Diff(wantedState(ip4, table), kernelState(t, d, ip4), equalAddrPorts); diff != "" {
		t.Error(diff)
	}
}

// TestWithoutCapability takes NET_ADMIN away from the thread.
func TestWithoutCapability(t *testing.T) {
	ownNetwork(t)
	if err := Probe(); err != nil {
		t.Errorf("with the capability: %v", err)
	}
	before := mustNFT(t, "", "list", "ruleset")
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	err := Probe()
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "expected the capability NET_ADMIN") {
		t.Errorf("without: %v", err)
	}
	if before != "" {
		t.Errorf("Probe left something:\n%s", before)
	}
}

// TestOneFamily is a kernel without IPv6.
func TestOneFamily(t *testing.T) {
	ownNetwork(t)
	d := open(t, shared)
	d.can.families = []*family{ip4}
	table := mixedTable()
	err := d.Sync(context.Background(), testHost, table)
	v6 := 0
	for r := range table.All() {
		if r.Addr.Is6() {
			v6++
		}
	}
	if routes := routesIn(t, err); len(routes) != v6 || !errors.Is(err, dataplane.ErrNotSupported) {
		t.Errorf("%d routes refused, want %d: %v", len(routes), v6, err)
	}
	if diff := cmp.Diff(wantedState(ip4, table), kernelState(t, d, ip4), equalAddrPorts); diff != "" {
		t.Error(diff)
	}
	r := testRoute(99, 1)
	r.Addr, r.Backends = addr("fd00:96::99"), nil
	if routes := routesIn(t, d.Apply(context.Background(), table.Set(service(99), []*vip.Route{r}))); len(routes) != 1 {
		t.Errorf("Apply refuses %v, want one", routes)
	}
	mustApply(t, d, table.Set(service(99), nil))
	mustIntact(t, d, true)
}

// TestHostChanges gives the same tables other addresses and networks, one after
// the other, and compares the kernel with the text for each.
func TestHostChanges(t *testing.T) {
	ownNetwork(t)
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
			host.PodCIDRs = append(host.PodCIDRs, netip.PrefixFrom(a, bits))
		}
		if err := d.Sync(context.Background(), host, table); err != nil {
			rt.Fatal(err)
		}
		l := newLayout(ip4, host.MasqueradeMark)
		m := newMade()
		for r := range table.All() {
			if r.Addr.Is4() {
				l.need(r, m)
			}
		}
		found, err := d.conn.findElements(l, tableName, m)
		if err != nil {
			rt.Fatal(err)
		}
		wanted := map[key]bool{}
		for _, k := range intervals(ip4, host.PodCIDRs) {
			wanted[k] = true
		}
		if diff := cmp.Diff(wanted, found.podCIDRs, cmp.AllowUnexported(key{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			rt.Fatalf("networks: %s", diff)
		}
		if diff := cmp.Diff(l.nodeAddrKeys(host), found.nodeAddrs, cmp.AllowUnexported(key{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			rt.Fatalf("addresses: %s", diff)
		}
		before := d.conn.commits
		if err := d.Sync(context.Background(), host, table); err != nil || d.conn.commits != before {
			rt.Fatalf("a second Sync: %v, %d commits", err, d.conn.commits-before)
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
		keys := intervals(ip4, networks)
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
