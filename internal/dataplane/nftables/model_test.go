package nftables

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// model is the meaning of a table in a few lines, with the memory of session affinity.
type model struct {
	host   vip.Host
	table  *vip.Table
	memory map[modelClient]modelMemory
}

type modelClient struct {
	ownerKey
	client netip.Addr
}

type modelMemory struct {
	backend netip.AddrPort
	expires uint32
}

// verdict is what may happen to a packet.
type verdict struct {
	action vip.Action
	set    vip.Set // with Forward: to one of these
	masq   bool
	route  *vip.Route

	outside bool // dropped because it is outside the source ranges
}

// between is what may happen while one table becomes the other: a packet that one of them
// drops for its source may pass by the ranges of the other.
func between(p packet, old, now model) []verdict {
	may := []verdict{old.of(p), now.of(p)}
	if may[0].outside && may[1].outside {
		return may
	}
	for _, v := range may {
		if v.outside {
			d := v.route.Policy.Of(old.host.Class(p.src, p.in))
			may = append(may, verdict{d.Action, d.Set, d.Masquerade, v.route, false})
		}
	}
	return may
}

// of is what must happen to a packet, but for affinity.
func (m model) of(p packet) verdict {
	var protocol cluster.Protocol
	setProtocol(&protocol, p.protocol)
	f := vip.Frontend{Addr: p.dst, Port: p.port, Protocol: protocol}
	r := m.table.Route(f)
	if r == nil && m.host.ServesNodePorts(p.dst) {
		f.Addr = anyNode(familyOf(f))
		r = m.table.Route(f)
	}
	if r != nil {
		d := r.Policy.Of(m.host.Class(p.src, p.in))
		v := verdict{d.Action, d.Set, d.Masquerade, r, false}
		if r.Sources != nil && !inNetworks(r.Sources, p.src) {
			v.action, v.outside = vip.Drop, true
		}
		return v
	}
	here := slices.Contains(m.host.Addrs, p.dst) || p.dst.IsLoopback()
	switch {
	case here:
	case m.table.Route(vip.Frontend{Addr: p.dst}) != nil:
		return verdict{action: vip.Reject}
	case inNetworks(m.host.Enforced(), p.dst):
		return verdict{action: vip.Drop}
	}
	return verdict{action: vip.Accept}
}

// checkResult holds a result against what may happen by one of two tables. Between them
// a packet may find parts of both.
func checkResult(t *rapid.T, p packet, got result, may ...verdict) {
	if got.action == vip.Reject && got.reset != (p.protocol == 6) {
		t.Fatalf("%+v is rejected by reset: %v", p, got.reset)
	}
	for _, v := range may {
		if v.action == got.action && v.action != vip.Forward {
			return
		}
	}
	for _, v := range may { // whose decision it is
		for _, o := range may { // whose backends
			if got.action != vip.Forward || v.action != vip.Forward || o.route == nil {
				continue
			}
			for _, b := range o.route.Backends(v.set) {
				hairpin := b.Addr() == p.src && b.Local
				if b.AddrPort == got.to && (got.masq == (v.masq || hairpin) || len(may) > 1 && b.Addr() == p.src) {
					return
				}
			}
		}
	}
	t.Fatalf("%+v: %+v, want one of %+v", p, got, may)
}

// modelHost draws one of the ways in which a node can be configured.
func modelHost(t *rapid.T) vip.Host {
	h := testHost.Host
	h.Addrs = []netip.Addr{addr("172.30.0.11"), addr("172.30.0.12"), addr("fd00:30::11"), addr("fd00:30::12"), addr("192.168.7.1")}
	switch rapid.IntRange(0, 3).Draw(t, "pods are told") {
	case 0:
		h.Pods = vip.Pods{Interface: "cni0"}
	case 1:
		h.Pods = vip.Pods{Prefix: "cni"}
	case 2:
		h.Pods = vip.Pods{}
	}
	if rapid.Bool().Draw(t, "all addresses") {
		h.NodePortAll4, h.NodePortAll6, h.NodePortAddrs = true, true, h.Addrs
	}
	return h
}

// modelRoutes draws the routes of a Service. Its ports have the same backends wherever
// they have affinity, as vip makes them.
func modelRoutes(t *rapid.T, i int) []*vip.Route {
	routes := randomRoutes(t, i)
	for _, v4 := range []bool{true, false} {
		all, here := randomBackends(t, v4), randomBackends(t, v4)
		for _, r := range routes {
			if r.Addr.Is4() == v4 && r.Kind != vip.OtherPorts {
				serve(r, all, here)
			}
		}
	}
	return routes
}

func randomPacket(t *rapid.T) packet {
	v4 := rapid.Bool().Draw(t, "ipv4")
	p := packet{
		protocol: rapid.SampledFrom([]byte{6, 17, 132}).Draw(t, "protocol"),
		port:     rapid.SampledFrom([]uint16{53, 80, 81}).Draw(t, "port"),
		in:       rapid.SampledFrom([]string{"", "eth0", "cni0", "cni1"}).Draw(t, "in"),
		mark:     rapid.SampledFrom([]uint32{0, 0xff}).Draw(t, "mark"),
	}
	src := []string{"10.244.0.0", "10.244.0.1", "10.244.1.7", "192.0.2.1", "192.0.2.200", "172.30.0.11", "127.0.0.1"}
	dst := []string{"10.96.0.1", "10.96.0.2", "10.96.0.3", "172.30.0.11", "172.30.0.12", "192.168.7.1", "127.0.0.1", "8.8.8.8"}
	if !v4 {
		src = []string{"fd00:10::", "fd00:10::1", "fd00:10:0:1::7", "2001:db8::1", "fd00:30::11", "::1"}
		dst = []string{"fd00:96::1", "fd00:96::2", "fd00:96::3", "fd00:30::11", "fd00:30::12", "::1", "2001:4860::8"}
	}
	p.src, p.dst = addr(rapid.SampledFrom(src).Draw(t, "src")), addr(rapid.SampledFrom(dst).Draw(t, "dst"))
	return p
}

// modelTable is a table with the machine that has it in place of a kernel.
type modelTable struct {
	*table
	m *machine
}

func newModelTable(t *rapid.T, f *nft.Family, host dataplane.Host) *modelTable {
	mt := &modelTable{newTable(nil, newLayout(f, host), tableName), newMachine(t, host.Host)}
	mt.m.load(mt.layout, mt.made)
	w := mt.writer()
	if err := mt.fillHost(w, host, newFound()); err != nil {
		t.Fatal(err)
	}
	for _, u := range w.units {
		for _, o := range u.ops {
			mt.m.do(o)
		}
	}
	return mt
}

// writer collects what it would write.
func (mt *modelTable) writer() *writer {
	return &writer{ctx: context.Background(), t: mt.table, lists: map[*set]*lists{}, room: 1 << 30}
}

// apply is table.apply with the machine in place of the kernel. Between any two
// operations it calls the function.
func (mt *modelTable) apply(changes []vip.Change, between func()) error {
	u := mt.useOf(changes)
	plan := mt.plan(u)
	mt.made.add(u.need)
	mt.m.load(mt.layout, mt.made)
	w := mt.writer()
	if err := mt.collect(w, u, plan, changes); err != nil {
		return err
	}
	between()
	for _, u := range w.units {
		whole := slices.ContainsFunc(u.ops, func(o op) bool { return o.verb == swap && o.set.rank == ownerRank }) // see layout.ops
		for i, o := range u.ops {
			mt.m.do(o)
			if !whole || i == len(u.ops)-1 {
				between()
			}
		}
	}
	plan.done()
	return w.refusals()
}

// TestRulesMeanTheTable sends random packets through the rules of random tables, in every
// state between two tables too, and compares with what the tables say.
func TestRulesMeanTheTable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := dataplane.Host{Host: modelHost(t), MasqueradeMark: rapid.SampledFrom([]uint32{0x4000, 1 << 31}).Draw(t, "mark bit")}
		tables := map[*nft.Family]*modelTable{}
		for _, f := range families {
			tables[f] = newModelTable(t, f, host)
		}
		old, now := model{host: host.Host, table: vip.NewTable()}, model{host: host.Host, table: vip.NewTable()}
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			i := rapid.IntRange(0, 2).Draw(t, "service")
			routes := modelRoutes(t, i)
			changes := now.table.Set(service(i), routes)
			var packets []packet
			for range 3 {
				packets = append(packets, randomPacket(t))
			}
			for _, f := range families {
				var ours []vip.Change
				for _, ch := range changes {
					if familyOf(ch.Frontend) == f {
						ours = append(ours, ch)
					}
				}
				err := tables[f].apply(ours, func() {
					for _, p := range packets {
						if familyOf(vip.Frontend{Addr: p.dst}) == f {
							got, after := tables[f].m.send(p)
							checkResult(t, p, got, between(p, old, now)...)
							checkLeft(t, host, p, after, got)
						}
					}
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			old.table.Set(service(i), routes)
			for range 5 {
				p := randomPacket(t)
				got, after := tables[familyOf(vip.Frontend{Addr: p.dst})].m.send(p)
				checkResult(t, p, got, now.of(p))
				checkLeft(t, host, p, after, got)
			}
		}
	})
}

// checkLeft holds what is left of the means by which rules speak to each other.
func checkLeft(t *rapid.T, host dataplane.Host, before, after packet, got result) {
	if got.action != vip.Forward {
		return
	}
	if mark := before.mark &^ host.MasqueradeMark; after.mark != mark && after.mark != before.mark {
		t.Fatalf("%+v has mark %#x when it leaves, want %#x", before, after.mark, mark)
	}
	if after.priority != 0 {
		t.Fatalf("%+v has priority %#x when it leaves", before, after.priority)
	}
}

// TestAffinityIsRemembered sends packets of few clients to Services with affinity while their
// backends change and time passes.
func TestAffinityIsRemembered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		host := dataplane.Host{Host: modelHost(t), MasqueradeMark: 0x4000}
		mt := newModelTable(t, nft.IPv4, host)
		m := model{host.Host, vip.NewTable(), map[modelClient]modelMemory{}}
		for range rapid.IntRange(1, 5).Draw(t, "changes") {
			i := rapid.IntRange(0, 1).Draw(t, "service")
			changes := slices.DeleteFunc(m.table.Set(service(i), modelRoutes(t, i)), func(ch vip.Change) bool { return ch.Addr.Is6() })
			if err := mt.apply(changes, func() {}); err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(1, 10).Draw(t, "packets") {
				mt.m.now += rapid.SampledFrom([]uint32{0, 1, 4, 20, 20000}).Draw(t, "seconds")
				p := randomPacket(t)
				if p.dst.Is6() {
					continue
				}
				got, _ := mt.m.send(p)
				checkResult(t, p, got, m.of(p))
				proven := p.protocol != 6 || p.in == "" || rapid.Bool().Draw(t, "ends the handshake")
				if got.action == vip.Forward && proven {
					mt.m.follow(p, got)
				}
				if err := m.remember(p, got, mt.m.now, proven); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// remember complains if a client did not get the backend that it had, and notes
// which it got. A client that does not prove its address is not remembered, but one that is stays so.
func (m model) remember(p packet, got result, now uint32, proven bool) error {
	v := m.of(p)
	if v.action != vip.Forward || v.route.Affinity == 0 {
		return nil
	}
	k := modelClient{keyOf(v.route), p.src}
	had, ok := m.memory[k]
	valid := slices.ContainsFunc(v.route.Backends(v.set), func(b vip.Backend) bool { return b.AddrPort == had.backend })
	if ok && had.expires > now && valid && got.to != had.backend {
		return fmt.Errorf("%+v goes to %v at %d, had %v until %d", p, got.to, now, had.backend, had.expires)
	}
	if !proven && !(ok && had.expires > now && valid) {
		delete(m.memory, k)
		return nil
	}
	m.memory[k] = modelMemory{got.to, now + v.route.Affinity}
	return nil
}

// TestMachine holds the machine against what is obvious.
func TestMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := newLayout(nft.IPv4, testHost)
		m := newMachine(t, testHost.Host)
		m.load(l, newMade())
		var networks []netip.Prefix
		for range rapid.IntRange(0, 4).Draw(t, "networks") {
			a := netip.AddrFrom4([4]byte{10, rapid.Byte().Draw(t, "byte")})
			networks = append(networks, netip.PrefixFrom(a, rapid.SampledFrom([]int{9, 15, 16, 32}).Draw(t, "bits")))
		}
		for _, k := range intervals(nft.IPv4, networks) {
			m.do(op{verb: put, set: l.podCIDRs, key: k})
		}
		for second := range 256 {
			a := netip.AddrFrom4([4]byte{10, byte(second)})
			if got := m.inInterval(l.podCIDRs, a.AsSlice()); got != inNetworks(networks, a) {
				t.Fatalf("%v in %v: %v", a, networks, got)
			}
		}
	})
}
