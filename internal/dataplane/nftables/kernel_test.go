package nftables

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/nft"
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
	n := 0
	add := func(a string, port uint16, p cluster.Protocol, kind vip.Kind, count int, policy vip.Policy) {
		n++
		f := vip.Frontend{Addr: addr(a), Port: port, Protocol: p}
		t.Set(service(n), []*vip.Route{{
			Frontend: f, Kind: kind, Owner: vip.Owner{Service: service(n), Port: "p"}, Created: int64(n),
			Policy: policy, Cluster: backends(count, f.Addr.Is4()),
		}})
	}
	for _, a := range []string{"10.96.0.1", "fd00:96::1"} {
		add(a, 443, cluster.TCP, vip.ClusterIP, 1, vip.ClusterPods)
		add(a, 53, cluster.UDP, vip.ClusterIP, 2, vip.ClusterKeep)
		add(a, 53, cluster.TCP, vip.ClusterIP, 3, vip.ClusterMasquerade)
		add(a, 7, cluster.SCTP, vip.ExternalIP, 9, vip.ClusterMasquerade)
		add(a, 81, cluster.TCP, vip.ClusterIP, 0, vip.RejectAll)
		add(a, 82, cluster.UDP, vip.ClusterIP, 0, vip.DropAll)
		add(a, 83, cluster.TCP, vip.LoadBalancer, 4, vip.ExternalLocalDrop)
		add(a, 84, cluster.TCP, vip.LoadBalancer, 4, vip.ExternalLocalNoPodsDrop)
	}
	addPolicies(t, backends)
	for _, a := range []string{"0.0.0.0", "::"} {
		add(a, 30009, cluster.TCP, vip.NodePort, 5, vip.ClusterMasquerade)
		add(a, 30053, cluster.UDP, vip.NodePort, 2, vip.ClusterMasquerade)
		add(a, 30007, cluster.SCTP, vip.NodePort, 1, vip.ClusterMasquerade)
		add(a, 30010, cluster.TCP, vip.NodePort, 0, vip.RejectAll)
	}
	return t
}

// addPolicies adds Services with traffic policies, source ranges and affinity: each
// with a ClusterIP, an address of a load balancer and a NodePort.
func addPolicies(t *vip.Table, backends func(int, bool) []vip.Backend) {
	for i, s := range []struct {
		inside   vip.Policy
		affinity uint32
		p        cluster.Protocol
		sources  []string
	}{
		{vip.ClusterPods, 10800, cluster.TCP, nil},
		{vip.LocalPods, 10800, cluster.UDP, []string{"192.0.2.0/25", "198.51.100.7/32", "2001:db8::/33", "2001:db9::1/128"}},
		{vip.LocalPods, 0, cluster.TCP, []string{}},
		{vip.ClusterPods, 90, cluster.SCTP, []string{"10.0.0.0/8", "fd00::/8"}},
	} {
		key := service(100 + i)
		var routes []*vip.Route
		for _, v4 := range []bool{true, false} {
			add := func(a string, kind vip.Kind, port uint16, policy vip.Policy, sources []string) {
				r := &vip.Route{
					Frontend: vip.Frontend{Addr: addr(a), Port: port, Protocol: s.p}, Kind: kind,
					Owner: vip.Owner{Service: key, Port: "web"}, Created: 100 + int64(i),
					Policy: policy, Affinity: s.affinity,
				}
				serve(r, backends(5, v4), slices.DeleteFunc(backends(5, v4), func(b vip.Backend) bool { return !b.Local }))
				if sources != nil {
					r.Sources = []netip.Prefix{}
				}
				for _, n := range sources {
					if p := netip.MustParsePrefix(n); p.Addr().Is4() == v4 {
						r.Sources = append(r.Sources, p)
					}
				}
				routes = append(routes, r)
			}
			ip, lb, any := "10.96.1."+strconv.FormatUint(uint64(uint32(i)), 10), "203.0.113."+strconv.FormatUint(uint64(uint32(i)), 10), "0.0.0.0"
			if !v4 {
				ip, lb, any = "fd00:96::1:"+strconv.FormatUint(uint64(uint32(i)), 10), "2001:db8::"+strconv.FormatUint(uint64(uint32(i)), 10), "::"
			}
			add(ip, vip.ClusterIP, 80, s.inside, nil)
			add(lb, vip.LoadBalancer, 80, vip.ExternalLocal, s.sources)
			add(any, vip.NodePort, 31000+uint16(i), vip.ExternalLocal, nil)
			routes = append(routes, restOf(100+i, addr(ip)))
		}
		slices.SortFunc(routes, func(a, b *vip.Route) int { return a.Compare(b.Frontend) })
		t.Set(key, routes)
	}
}

// TestCountsReadBack holds the number of elements in the kernel against the table:
// a list longer than an attribute would lose elements without an error.
func TestCountsReadBack(t *testing.T) {
	for name, limit := range map[string]int{"as the socket allows": 0, "of 1 MiB": 1 << 20, "of 64 KiB": 64 << 10, "of 16 KiB": 16 << 10} {
		t.Run(name, func(t *testing.T) {
			netlab.OwnNetwork(t)
			d := open(t, shared)
			if limit > 0 {
				setLimit(t, d, limit)
			}
			mustSync(t, d, testTable(10_000, 5))
			l := newLayout(nft.IPv4, testHost)
			m := newMade()
			for r := range testTable(1, 5).All() {
				l.need(r, m)
			}
			found, err := findElements(d.conn, l, ourTable(l.Family), m)
			if err != nil {
				t.Fatal(err)
			}
			for s, want := range map[*set]int{
				l.groupSet(group{treatment: masqueradeNodeOutside}): 10_000,
				l.classSet(class{protocol: 6, size: 8}):             50_000,
				l.nodeAddrs:                                         2,
			} {
				if found.count[s] != want {
					t.Errorf("%s has %d elements, want %d", s.Name, found.count[s], want)
				}
			}
			mustIntact(t, d, true)
		})
	}
}

// setLimit makes the transactions of a dataplane as large as a test wants.
func setLimit(t *testing.T, d *Dataplane, limit int) {
	t.Helper()
	err := unix.SetsockoptInt(d.conn.FD(), unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, limit)
	if errors.Is(err, unix.EPERM) { // not root in the first user namespace
		limit = min(limit, d.conn.Limit)
	} else if err != nil {
		t.Fatal(err)
	}
	d.conn.Limit = limit
}

// TestSmallSendBuffer has a system whose administrator allows only small buffers.
func TestSmallSendBuffer(t *testing.T) {
	netlab.OwnNetwork(t)
	d := open(t, shared)
	err := unix.SetsockoptInt(d.conn.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 10<<10)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Sync(context.Background(), testHost, testTable(1000, 5)); !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("with a limit above the buffer: %v, want %v", err, unix.EMSGSIZE)
	}
	d.conn.Limit = 20<<10 - nft.SendOverhead
	mustSync(t, d, testTable(1000, 5))
	if diff := cmp.Diff(wantedState(nft.IPv4, testTable(1000, 5)), kernelState(t, d, nft.IPv4), equalAddrPorts); diff != "" {
		t.Error(diff)
	}
}

// kernelState is what the kernel has, without regard to which slot a backend is in.
func kernelState(t interface{ Fatal(...any) }, d *Dataplane, f *nft.Family) map[string]frontendState {
	tb := newTable(d.conn, newLayout(f, testHost), tableName)
	layout, err := findLayout(d.conn, ourTable(f))
	if err != nil {
		t.Fatal(err)
	}
	m, why := tb.difference(layout)
	if why != "" {
		t.Fatal(why)
	}
	found, err := findElements(d.conn, tb.layout, tb.id(), m)
	if err != nil {
		t.Fatal(err)
	}
	state := map[string]frontendState{}
	shares := map[uint16][]string{}
	for k, i := range found.frontends {
		if n, ok := i.owner(); ok {
			shares[n] = append(shares[n], tb.frontend(k).String())
		}
	}
	for k, i := range found.frontends {
		s := stateOf(tb.layout, *i)
		if n, ok := i.owner(); ok {
			s.remembers(tb.layout, found.owners[n], shares[n])
		}
		state[tb.frontend(k).String()] = s
	}
	for k := range found.hairpin {
		state["hairpin "+k.addr.String()] = frontendState{}
	}
	for n := range found.owners {
		if shares[n] == nil {
			state["owner of nothing"] = frontendState{}
		}
	}
	return state
}

var equalAddrPorts = cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })

// frontendState is what a frontend has, by the names that nft shows.
type frontendState struct {
	In       map[string]string           // set to comment
	Sources  []string                    // networks and their sets, sorted
	Backends map[string][]netip.AddrPort // map to backends, sorted
	Shares   []string                    // the frontends with which clients are remembered, sorted
}

func stateOf(l *layout, i installed) frontendState {
	s := frontendState{In: map[string]string{}, Backends: map[string][]netip.AddrPort{}}
	for _, m := range i.in {
		if m.set.rank == sourceRank {
			s.Sources = append(s.Sources, m.set.Name+" "+m.source.String())
		} else {
			s.In[m.set.Name] = m.comment
		}
	}
	slices.Sort(s.Sources)
	for _, p := range i.slots {
		s.Backends[p.set.Name] = slices.SortedFunc(slices.Values(p.slots), netip.AddrPort.Compare)
	}
	return s
}

// remembers adds what the Owner has.
func (s *frontendState) remembers(l *layout, o remembered, shares []string) {
	s.Shares = slices.Sorted(slices.Values(shares))
	addrs := map[uint16]netip.AddrPort{}
	for _, set := range sets {
		for n, a := range o.backends[set] {
			addrs[n] = a
		}
		if len(o.backends[set]) > 0 {
			s.Backends[l.backends[set].Name] = slices.SortedFunc(maps.Values(o.backends[set]), netip.AddrPort.Compare)
		}
	}
	for c, numbers := range o.slots {
		var list []netip.AddrPort
		for _, n := range numbers {
			list = append(list, addrs[n])
		}
		s.Backends[c.name()] = slices.SortedFunc(slices.Values(list), netip.AddrPort.Compare)
	}
}

// wantedState is the same from the table, by the obvious way.
func wantedState(f *nft.Family, table *vip.Table) map[string]frontendState {
	l := newLayout(f, testHost)
	state := map[string]frontendState{}
	shares := map[ownerKey][]string{}
	backends := map[ownerKey]*[2]map[netip.AddrPort]bool{}
	for r := range table.All() {
		if familyOf(r.Frontend) == f && r.Affinity != 0 && r.Policy.Forwards() {
			k := keyOf(r)
			shares[k] = append(shares[k], r.Frontend.String())
			if backends[k] == nil {
				backends[k] = &[2]map[netip.AddrPort]bool{{}, {}}
			}
			for _, set := range sets {
				for _, b := range r.Backends(set) {
					backends[k][set][b.AddrPort] = true
				}
			}
		}
	}
	for r := range table.All() {
		if familyOf(r.Frontend) != f || r.Kind == vip.HealthCheck {
			continue
		}
		s := stateOf(l, l.route(r, 0, installed{}))
		if k := keyOf(r); r.Affinity != 0 && slices.Contains(shares[k], r.Frontend.String()) {
			s.Shares = slices.Sorted(slices.Values(shares[k]))
			for _, set := range sets {
				var list []netip.AddrPort
				for b := range backends[k][set] {
					list = append(list, b)
				}
				if slices.SortFunc(list, netip.AddrPort.Compare); len(list) > 0 {
					s.Backends[l.backends[set].Name] = list
					s.Backends[class{path: path{set: set}, affinity: true, size: sizeFor(len(list))}.name()] = list
				}
			}
		}
		state[r.Frontend.String()] = s
		for _, pod := range l.need(r, newMade()) {
			state["hairpin "+pod.String()] = frontendState{}
		}
	}
	return state
}

// mustProceed writes the next slice of what Apply left.
func mustProceed(t interface{ Fatal(...any) }, d *Dataplane) {
	if _, err := d.Tick(context.Background(), d.looked); err != nil {
		t.Fatal(err)
	}
}

// TestChangesLeadToTheFreshState applies random changes, one by one, and compares
// the kernel with the table after each that is not left unfinished.
func TestChangesLeadToTheFreshState(t *testing.T) {
	netlab.OwnNetwork(t)
	rapid.Check(t, func(rt *rapid.T) {
		d := open(t, shared)
		defer d.Close()
		most := d.conn.Limit
		d.conn.Limit = rapid.SampledFrom([]int{most, 1000, 5000}).Draw(rt, "bytes of a transaction")
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
			if _, err := d.Apply(context.Background(), table.Set(service(i), services[i])); err != nil {
				rt.Fatal(err)
			}
			for n := rapid.IntRange(0, 9).Draw(rt, "slices"); n > 0 && d.unfinished(); n-- {
				mustProceed(rt, d)
			}
			if d.unfinished() {
				continue // the next change comes before the rest of this one
			}
			for _, f := range families {
				if diff := cmp.Diff(wantedState(f, table), kernelState(rt, d, f), equalAddrPorts); diff != "" {
					rt.Fatalf("%s: %s", f.Name, diff)
				}
			}
		}
		for d.unfinished() {
			mustProceed(rt, d)
		}
		if g, err := d.conn.Generation(); err != nil || g != d.expectedGeneration() {
			rt.Fatalf("generation %d, expected %d after our own commits, %v", g, d.expectedGeneration(), err)
		}
		mustIntact(t, d, true)
		if why, err := d.tables[0].verify(); why != "" || err != nil {
			rt.Fatal(why, err)
		}

		// What is not needed any more is removed; then the rules are those of a fresh install, and a
		// Sync has nothing to write.
		for range idleLooks {
			mustIntact(t, d, true)
		}
		before := d.conn.Commits()
		d.conn.Limit = most
		for _, tb := range d.tables {
			fresh := newMade()
			for r := range table.All() {
				if familyOf(r.Frontend) == tb.Family {
					tb.need(r, fresh)
				}
			}
			for _, o := range tb.owners.byKey {
				for c := range o.have.slots {
					fresh.classes[c] = true
				}
			}
			if !tb.made.equal(fresh) {
				rt.Fatalf("groups and classes after changes are %v, those of a fresh install are %v", tb.made, fresh)
			}
			if why, err := tb.verify(); why != "" || err != nil {
				rt.Fatal(why, err)
			}
		}
		mustSync(t, d, table)
		if n := d.conn.Commits() - before; n > 0 {
			rt.Fatalf("a Sync after the changes made %d commits, want none", n)
		}
	})
}
