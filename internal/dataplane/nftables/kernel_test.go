package nftables

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// mixedTable has one of everything.
func mixedTable() *vip.Table {
	t := vip.NewTable()
	backends := func(n int, v4 bool) []vip.Backend {
		var list []vip.Backend
		for i := range n {
			a := netip.AddrFrom4([4]byte{10, 244, byte(i % 2), byte(i)})
			if !v4 {
				a = netip.AddrFrom16([16]byte{0xfd, 0, 0, 0x10, 2, 0x44, 15: byte(i)})
			}
			list = append(list, vip.Backend{AddrPort: netip.AddrPortFrom(a, 8080), Local: i%2 == 0})
		}
		sortBackends(list)
		return list
	}
	fromAll := func(d vip.Decision) (all [vip.Classes]vip.Decision) {
		for c := range all {
			all[c] = d
		}
		return all
	}
	masquerade := vip.Decision{Masquerade: true}
	some := [vip.Classes]vip.Decision{vip.FromNode: masquerade, vip.FromOutside: masquerade}
	n := 0
	add := func(a string, port uint16, p cluster.Protocol, kind vip.Kind, count int, d [vip.Classes]vip.Decision) {
		n++
		f := vip.Frontend{Addr: addr(a), Port: port, Protocol: p}
		t.Set(service(n), []*vip.Route{{
			Frontend: f, Kind: kind, Owner: vip.Owner{Service: service(n), Port: "p"}, Created: int64(n),
			Decisions: d, Cluster: backends(count, f.Addr.Is4()),
		}})
	}
	for _, a := range []string{"10.96.0.1", "fd00:96::1"} {
		add(a, 443, cluster.TCP, vip.ClusterIP, 1, some)
		add(a, 53, cluster.UDP, vip.ClusterIP, 2, fromAll(vip.Decision{}))
		add(a, 53, cluster.TCP, vip.ClusterIP, 3, fromAll(masquerade))
		add(a, 7, cluster.SCTP, vip.ExternalIP, 9, fromAll(masquerade))
		add(a, 81, cluster.TCP, vip.ClusterIP, 0, fromAll(vip.Decision{Action: vip.Reject}))
		add(a, 82, cluster.UDP, vip.LoadBalancer, 0, fromAll(vip.Decision{Action: vip.Drop}))
		add(a, 83, cluster.TCP, vip.LoadBalancer, 4, [vip.Classes]vip.Decision{
			vip.FromPod: {}, vip.FromNode: masquerade, vip.FromOutside: {Action: vip.Drop}})
		add(a, 84, cluster.TCP, vip.LoadBalancer, 4, [vip.Classes]vip.Decision{
			vip.FromPod: masquerade, vip.FromNode: {Action: vip.Reject}, vip.FromOutside: masquerade})
	}
	for _, a := range []string{"0.0.0.0", "::"} {
		add(a, 30009, cluster.TCP, vip.NodePort, 5, fromAll(masquerade))
		add(a, 30053, cluster.UDP, vip.NodePort, 2, fromAll(masquerade))
		add(a, 30007, cluster.SCTP, vip.NodePort, 1, fromAll(masquerade))
		add(a, 30010, cluster.TCP, vip.NodePort, 0, fromAll(vip.Decision{Action: vip.Reject}))
	}
	return t
}

// TestCountsReadBack holds the number of elements in the kernel against the table:
// a list longer than an attribute would lose elements without an error.
func TestCountsReadBack(t *testing.T) {
	for name, limit := range map[string]int{"as the socket allows": 0, "of 1 MiB": 1 << 20, "of 64 KiB": 64 << 10, "of 16 KiB": 16 << 10} {
		t.Run(name, func(t *testing.T) {
			ownNetwork(t)
			d := open(t, shared)
			if limit > 0 {
				setLimit(t, d, limit)
			}
			mustSync(t, d, testTable(10_000, 5))
			l := newLayout(ip4, testHost.MasqueradeMark)
			m := newMade()
			for r := range testTable(1, 5).All() {
				l.need(r, m)
			}
			found, err := d.conn.findElements(l, tableName, m)
			if err != nil {
				t.Fatal(err)
			}
			for s, want := range map[*set]int{
				l.groupSet(group{decisions: testRoute(0, 5).Decisions}): 10_000,
				l.classSet(class{protocol: 6, size: 8}):                 50_000,
				l.nodeAddrs:                                             2,
			} {
				if found.count[s] != want {
					t.Errorf("%s has %d elements, want %d", s.name, found.count[s], want)
				}
			}
			mustIntact(t, d, true)
		})
	}
}

// setLimit makes the transactions of a dataplane as large as a test wants.
func setLimit(t *testing.T, d *Dataplane, limit int) {
	t.Helper()
	err := d.conn.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, limit) })
	if errors.Is(err, unix.EPERM) { // not root in the first user namespace
		limit = min(limit, d.conn.limit)
	} else if err != nil {
		t.Fatal(err)
	}
	d.conn.limit = limit
}

// TestSmallSendBuffer has a system whose administrator allows only small buffers.
func TestSmallSendBuffer(t *testing.T) {
	ownNetwork(t)
	d := open(t, shared)
	err := d.conn.control(func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 10<<10) })
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(context.Background(), testHost, testTable(1000, 5)); !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("with a limit above the buffer: %v, want %v", err, unix.EMSGSIZE)
	}
	d.conn.limit = 20<<10 - sendOverhead
	mustSync(t, d, testTable(1000, 5))
	if diff := cmp.Diff(wantedState(ip4, testTable(1000, 5)), kernelState(t, d, ip4), equalAddrPorts); diff != "" {
		t.Error(diff)
	}
}

// kernelState is what the kernel has, without regard to which slot a backend is in.
func kernelState(t interface{ Fatal(...any) }, d *Dataplane, f *family) map[string]frontendState {
	tb := newTable(d.conn, newLayout(f, testHost.MasqueradeMark), tableName)
	layout, err := d.conn.findLayout(f, tableName)
	if err != nil {
		t.Fatal(err)
	}
	m, why := tb.difference(layout)
	if why != "" {
		t.Fatal(why)
	}
	found, err := d.conn.findElements(tb.layout, tableName, m)
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]frontendState{}
	for k, i := range found.frontends {
		state[tb.frontend(k).String()] = stateOf(*i)
	}
	for k := range found.hairpin {
		state["hairpin "+k.addr.String()] = frontendState{}
	}
	return state
}

var equalAddrPorts = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// frontendState is what a frontend has, by the names that nft shows.
type frontendState struct {
	Groups   map[string]string           // set to comment
	Backends map[string][]netip.AddrPort // map to backends, sorted
}

func stateOf(i installed) frontendState {
	s := frontendState{map[string]string{}, map[string][]netip.AddrPort{}}
	for _, m := range i.in {
		s.Groups[m.set.name] = m.comment
	}
	for _, p := range i.slots {
		s.Backends[p.set.name] = slices.SortedFunc(slices.Values(p.slots), netip.AddrPort.Compare)
	}
	return s
}

// wantedState is the same from the table, by the obvious way.
func wantedState(f *family, table *vip.Table) map[string]frontendState {
	l := newLayout(f, testHost.MasqueradeMark)
	state := map[string]frontendState{}
	for r := range table.All() {
		if familyOf(r.Frontend) != f {
			continue
		}
		state[r.Frontend.String()] = stateOf(l.route(r, installed{}))
		for _, pod := range l.need(r, newMade()) {
			state["hairpin "+pod.String()] = frontendState{}
		}
	}
	return state
}

// TestChangesLeadToTheFreshState applies random changes, one by one, and compares
// the kernel with the table after each.
func TestChangesLeadToTheFreshState(t *testing.T) {
	ownNetwork(t)
	rapid.Check(t, func(rt *rapid.T) {
		d := open(t, shared)
		defer d.Close()
		d.conn.limit = rapid.SampledFrom([]int{d.conn.limit, 1000, 5000}).Draw(rt, "bytes of a transaction")
		table := vip.NewTable()
		services := map[int][]*vip.Route{}
		mustSync(t, d, table)
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			i := rapid.IntRange(0, 4).Draw(rt, "service")
			if len(services[i]) > 0 && rapid.IntRange(0, 3).Draw(rt, "how") > 0 {
				services[i] = otherBackends(rt, services[i])
			} else {
				services[i] = randomRoutes(rt, i)
			}
			mustApply(t, d, table.Set(service(i), services[i]))
			for _, f := range families {
				if diff := cmp.Diff(wantedState(f, table), kernelState(rt, d, f), equalAddrPorts); diff != "" {
					rt.Fatalf("%s: %s", f.name, diff)
				}
			}
		}
		if g, err := d.conn.generation(); err != nil || g != d.expectedGeneration() {
			rt.Fatalf("generation %d, expected %d after our own commits, %v", g, d.expectedGeneration(), err)
		}
		mustIntact(t, d, true)
		if why, err := d.tables[0].verify(); why != "" || err != nil {
			rt.Fatal(why, err)
		}

		// A Sync has nothing to write but groups and classes to remove; then the rules are those of a fresh install.
		before := d.conn.commits
		mustSync(t, d, table)
		if n := d.conn.commits - before; n > 2 {
			rt.Fatalf("a Sync after the changes made %d commits, want at most one for each table", n)
		}
		for _, tb := range d.tables {
			fresh := newMade()
			for r := range table.All() {
				if familyOf(r.Frontend) == tb.family {
					tb.need(r, fresh)
				}
			}
			if !tb.made.equal(fresh) {
				rt.Fatalf("groups and classes after changes are %v, those of a fresh install are %v", tb.made, fresh)
			}
			if why, err := tb.verify(); why != "" || err != nil {
				rt.Fatal(why, err)
			}
		}
	})
}
