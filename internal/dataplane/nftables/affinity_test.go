package nftables

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// TestManyClients has more clients than a Service port has places: it takes no more, and another
// one's clients are remembered.
func TestManyClients(t *testing.T) {
	const clients = 70_000
	netlab.OwnNetwork(t)
	d := open(t, shared)
	r := testRoute(0, 3)
	r.Protocol, r.Affinity, r.Policy = cluster.UDP, 10800, vip.ClusterKeep
	table := vip.NewTable()
	table.Set(service(0), []*vip.Route{r})
	mustSync(t, d, table)
	makeLocal(t, "11.0.0.0/8", "10.96.0.0/16", "10.128.0.0/16")
	send := func(from, to int) {
		for i := from; i < to; i++ {
			if err := sendFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), r.Frontend); err != nil {
				t.Fatal(err)
			}
		}
	}
	send(0, clients)
	if n := clientsIn(t, d, d.tables[0].other); n < places/2 || n > places {
		t.Errorf("%d places are taken, want most of %d and no more", n, places)
	}
	send(clients, clients+100) // these last for seconds only
	if n := clientsIn(t, d, d.tables[0].begun); n == 0 || n > begunPlaces {
		t.Errorf("%d places of new clients are taken, want some and at most %d", n, begunPlaces)
	}
	mustIntact(t, d, true)
}

// TestAffinityOfPackets asks as clients do, over what should and what should not change
// who answers them.
func TestAffinityOfPackets(t *testing.T) {
	l := newLab(t, 5)
	client, other := l.pods[4], l.pods[3]
	at := []*vip.Route{
		l.route(vip.Frontend{Addr: addr("10.96.0.1"), Port: 80, Protocol: cluster.TCP}, vip.ClusterIP, l.pods[:3]...),
		l.route(vip.Frontend{Addr: vip.AnyNode4, Port: 30009, Protocol: cluster.TCP}, vip.NodePort, l.pods[:3]...),
	}
	set := func(seconds uint32, pods ...*netlab.Host) {
		t.Helper()
		for i, r := range at {
			n := l.route(r.Frontend, r.Kind, pods...)
			n.Owner, n.Affinity = vip.Owner{Service: cluster.Key{Namespace: "lab", Name: "sticky"}}, seconds
			at[i] = n
		}
		if err := applyAll(l.d, l.table.Set(at[0].Owner.Service, at)); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(who *netlab.Host, to netip.AddrPort) string {
		t.Helper()
		r, err := l.ask(who, "tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		return r.Server
	}
	cip, np := netip.AddrPortFrom(addr("10.96.0.1"), 80), netip.AddrPortFrom(l.node.IPv4, 30009)
	always := func(want, when string) {
		t.Helper()
		for range 10 {
			for _, to := range []netip.AddrPort{cip, np} {
				if got := ask(client, to); got != want {
					t.Fatalf("%s: %v is answered by %s, want %s", when, to, got, want)
				}
			}
		}
	}
	set(10800, l.pods[:3]...)
	first := ask(client, cip)
	always(first, "all frontends of a Service port")
	l.answers(l.Outside, "tcp", np, l.podNamed(ask(l.Outside, np)))
	ask(other, cip)
	set(10800, l.pods[:4]...)
	always(first, "a backend came")
	l.d.Close()
	if err := l.node.Do(func() (err error) { l.d, err = Open(Options{}); return err }); err != nil {
		t.Fatal(err)
	}
	if err := l.d.Sync(context.Background(), l.host, l.table); err != nil {
		t.Fatal(err)
	}
	always(first, "another process took over")
	rest := slices.DeleteFunc(slices.Clone(l.pods[:4]), func(h *netlab.Host) bool { return h.Name == first })
	set(10800, rest...)
	second := ask(client, cip)
	if second == first {
		t.Fatalf("%s answers, which is gone", first)
	}
	always(second, "another backend, since the first is gone")
	set(10800, l.pods[:4]...)
	always(second, "the first is back")

	// It is forgotten so long after the last connection, and not after the first.
	set(1, l.pods[:4]...)
	for range 3 {
		always(second, "within the time")
		time.Sleep(700 * time.Millisecond)
	}
	time.Sleep(600 * time.Millisecond)
	n := 0
	if err := l.node.Do(func() (err error) {
		n, err = findSetElements(l.d.conn, l.d.tables[0].id(), l.d.tables[0].proven, func(key, value) {})
		return err
	}); err != nil || n != 2 {
		t.Errorf("%d clients are remembered, want the two of the longer time: %v", n, err)
	}
}

// clientsIn counts what packets wrote into a map.
func clientsIn(t *testing.T, d *Dataplane, s *set) int {
	t.Helper()
	n, err := findSetElements(d.conn, d.tables[0].id(), s, func(key, value) {})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// makeLocal makes all addresses of networks the node's own.
func makeLocal(t *testing.T, networks ...string) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	for _, n := range networks {
		if err != nil {
			t.Fatal(err)
		}
		var dst *netlink.Addr
		if dst, err = netlink.ParseAddr(n); err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: dst.IPNet, Type: unix.RTN_LOCAL, Table: unix.RT_TABLE_LOCAL, Scope: netlink.SCOPE_HOST})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sendFrom sends a datagram from an address.
func sendFrom(from netip.Addr, to vip.Frontend) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: from.As4()}); err != nil {
		return fmt.Errorf("bind to %v: %w", from, err)
	}
	return unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Addr: to.Addr.As4(), Port: int(to.Port)})
}
