package nftables

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// TestOneRouteCannotStopTheOthers lets the kernel refuse elements: the set of a
// group has room for three.
func TestOneRouteCannotStopTheOthers(t *testing.T) {
	netlab.OwnNetwork(t)
	full := vip.NewTable()
	for i := range 10 {
		full.Set(service(i), []*vip.Route{testRoute(i, 3)})
	}
	other := testRoute(10, 0) // of another group
	mustNFT(t, withRoomFor(t, 3), "-f", "-")

	d := open(t, shared)
	full.Set(service(10), []*vip.Route{other})
	err := d.Sync(context.Background(), testHost, full)
	if refused := routesIn(t, err); len(refused) != 7 || !errors.Is(err, unix.ENFILE) {
		t.Fatalf("Sync refuses %v, want 7 routes by %v: %v", refused, unix.ENFILE, err)
	}
	if !strings.Contains(err.Error(), "adding to masquerade-node-outside: 10.96.0.3 . tcp . 80 comment \"default/service-3:http\"") {
		t.Errorf("%v: want that it names the element", err)
	}
	if got := len(kernelState(t, d, nft.IPv4)); got != 4 {
		t.Errorf("%d frontends in the kernel, want 4", got)
	}
	mustIntact(t, d, true)

	// The routes that were refused may change and go, and others come.
	changes := full.Set(service(9), []*vip.Route{testRoute(9, 4)})
	if refused := routesIn(t, applyAll(d, changes)); len(refused) != 1 {
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
	if got := len(kernelState(t, d, nft.IPv4)); got != 5 {
		t.Errorf("%d frontends in the kernel, want 5", got)
	}
}

// withRoomFor are the rules for the first Service of a testTable, with room for so many frontends
// of its group.
func withRoomFor(t *testing.T, frontends int) string {
	t.Helper()
	plan, err := Render(testHost, testTable(1, 3))
	if err != nil {
		t.Fatal(err)
	}
	const declared = "set masquerade-node-outside {\n\t\ttype ipv4_addr . inet_proto . inet_service\n"
	small := strings.Replace(plan, declared, fmt.Sprintf("%s\t\tsize %d\n", declared, frontends), 1)
	if small == plan {
		t.Fatalf("no %q in:\n%s", declared, plan)
	}
	return small
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
		"other family":        {func(r *vip.Route) { r.Cluster = backend("[fd00::1]:80") }, "backend [fd00::1]:80 has no address of ip"},
		"backend port 0":      {func(r *vip.Route) { r.Cluster = backend("10.0.0.1:0") }, "has port 0"},
		"a backend twice":     {func(r *vip.Route) { r.Cluster = append(backend("10.0.0.1:80"), backend("10.0.0.1:80")...) }, "must be sorted, none twice"},
		"backends not sorted": {func(r *vip.Route) { r.Cluster = append(backend("10.0.0.2:80"), backend("10.0.0.1:80")...) }, "must be sorted, none twice"},
		"too many backends":   {func(r *vip.Route) { r.Cluster = make([]vip.Backend, maxSlots+1) }, "65537 backends are more than 65536"},
	}
	netlab.OwnNetwork(t)
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
		if routes := routesIn(t, applyAll(d, changes)); len(routes) != 1 {
			t.Errorf("%s: Apply refuses %v, want service-1", name, routes)
		}
		if routes := routesIn(t, d.Sync(context.Background(), testHost, table)); len(routes) != 1 {
			t.Errorf("%s: Sync refuses %v, want service-1", name, routes)
		}
		mustApply(t, d, table.Set(service(1), []*vip.Route{testRoute(1, 2)}))
		if diff := cmp.Diff(wantedState(nft.IPv4, table), kernelState(t, d, nft.IPv4), equalAddrPorts); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		mustApply(t, d, table.Set(service(1), nil))
		d.Close()
	}
}

func TestMessagesForPeople(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	ctx := context.Background()
	if _, err := d.Apply(ctx, nil); err == nil || !strings.Contains(err.Error(), "Sync must come first") {
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
	if _, err := d.Apply(canceled, table.Set(service(0), nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("Apply that is canceled: %v", err)
	}
	mustIntact(t, d, false)
	if _, err := d.Apply(ctx, nil); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "Sync must come first") {
		t.Errorf("Apply after one that was canceled: %v", err)
	}
	mustSync(t, d, table)
	mustIntact(t, d, true)

	// What only Sync can repair: something else is where we want to write.
	mustNFT(t, "add element ip signpost backends-tcp-2 { 10.96.9.9 . 80 . 0 : 10.0.0.9 . 80 }", "-f", "-")
	r := testRoute(1, 2)
	r.Addr = addr("10.96.9.9")
	_, err := d.Apply(ctx, table.Set(service(3), []*vip.Route{r}))
	if !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "adding to backends-tcp-2: 10.96.9.9 . 80 . 0 : 10.128.0.2 . 8080") {
		t.Errorf("an element in the way: %v", err)
	}
	mustSync(t, d, table)
	if diff := cmp.Diff(wantedState(nft.IPv4, table), kernelState(t, d, nft.IPv4), equalAddrPorts); diff != "" {
		t.Error(diff)
	}
}

// TestWithoutCapability takes NET_ADMIN away from the thread.
func TestWithoutCapability(t *testing.T) {
	netlab.OwnNetwork(t)
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
	netlab.OwnNetwork(t)
	d := open(t, shared)
	d.can.families = []*nft.Family{nft.IPv4}
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
	if diff := cmp.Diff(wantedState(nft.IPv4, table), kernelState(t, d, nft.IPv4), equalAddrPorts); diff != "" {
		t.Error(diff)
	}
	r := testRoute(99, 1)
	r.Addr, r.Cluster = addr("fd00:96::99"), nil
	if routes := routesIn(t, applyAll(d, table.Set(service(99), []*vip.Route{r}))); len(routes) != 1 {
		t.Errorf("Apply refuses %v, want one", routes)
	}
	mustApply(t, d, table.Set(service(99), nil))
	mustIntact(t, d, true)
}
