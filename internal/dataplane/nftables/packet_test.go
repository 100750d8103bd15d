package nftables

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/netlab"
	"github.com/signpost-dns/signpost/internal/vip"
)

// lab is a node with pods, a machine outside, and a dataplane on the node.
type lab struct {
	*netlab.Lab
	t     testing.TB
	node  *netlab.Node
	pods  []*netlab.Host
	d     *Dataplane
	host  dataplane.Host
	table *vip.Table
}

func newLab(t testing.TB, pods int) *lab {
	t.Helper()
	l := &lab{Lab: netlab.New(t, netlab.Config{Nodes: 1}), t: t, table: vip.NewTable()}
	l.node = l.Node(1)
	l.host.MasqueradeMark = 0x4000
	l.host.NodePortAddrs, l.host.Pods.CIDRs = []netip.Addr{l.node.IPv4}, []netip.Prefix{l.node.PodCIDR4}
	if l.HasIPv6() {
		l.host.NodePortAddrs = append(l.host.NodePortAddrs, l.node.IPv6)
		l.host.Pods.CIDRs = append(l.host.Pods.CIDRs, l.node.PodCIDR6)
	}
	for i := range pods {
		pod, err := l.node.AddPod(fmt.Sprintf("pod-%d", i+1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pod.Echo(8080); err != nil {
			t.Fatal(err)
		}
		l.pods = append(l.pods, pod)
	}
	if err := l.node.Do(func() (err error) { l.d, err = Open(Options{}); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.d.Close() })
	if err := l.d.Sync(context.Background(), l.host, l.table); err != nil {
		t.Fatal(err)
	}
	return l
}

// serve makes a Service of a frontend with some of the pods as backends.
func (l *lab) serve(f vip.Frontend, kind vip.Kind, pods ...*netlab.Host) {
	l.t.Helper()
	r := l.route(f, kind, pods...)
	if err := applyAll(l.d, l.table.Set(r.Owner.Service, []*vip.Route{r})); err != nil {
		l.t.Fatal(err)
	}
}

// route is what serve makes.
func (l *lab) route(f vip.Frontend, kind vip.Kind, pods ...*netlab.Host) *vip.Route {
	r := &vip.Route{Frontend: f, Kind: kind, Owner: vip.Owner{Service: cluster.Key{Namespace: "lab", Name: f.String()}}}
	for _, p := range pods {
		a := p.IPv6
		if f.Addr.Is4() {
			a = p.IPv4
		}
		r.Cluster = append(r.Cluster, vip.Backend{AddrPort: netip.AddrPortFrom(a, 8080), Local: true})
	}
	sortBackends(r.Cluster)
	switch {
	case len(pods) == 0:
		r.Policy = vip.RejectAll
	case kind == vip.ClusterIP:
		r.Policy = vip.ClusterPods
	default:
		r.Policy = vip.ClusterMasquerade
	}
	return r
}

// podNamed finds a pod by its name.
func (l *lab) podNamed(name string) *netlab.Host {
	return l.pods[slices.IndexFunc(l.pods, func(h *netlab.Host) bool { return h.Name == name })]
}

func (l *lab) ask(from *netlab.Host, network string, to netip.AddrPort) (netlab.Reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return from.Ask(ctx, network, to)
}

// answers asks until each pod has answered, and returns the last reply of each.
func (l *lab) answers(from *netlab.Host, network string, to netip.AddrPort, pods ...*netlab.Host) map[string]netlab.Reply {
	l.t.Helper()
	replies := map[string]netlab.Reply{}
	for range 200 {
		r, err := l.ask(from, network, to)
		if err != nil {
			l.t.Fatalf("%s %s: %v", network, to, err)
		}
		replies[r.Server] = r
		if len(replies) == len(pods) {
			break
		}
	}
	for _, p := range pods {
		if _, ok := replies[p.Name]; !ok {
			l.t.Fatalf("%s %s: %s never answered: %v", network, to, p.Name, replies)
		}
	}
	return replies
}

// TestPackets is a smoke test; the scenarios of dataplane/conformance are many more.
func TestPackets(t *testing.T) {
	l := newLab(t, 5)
	for _, c := range []struct {
		vip, node netip.Addr
		any       netip.Addr
		client    netip.Addr // address of the client pod
		has       bool
	}{
		{addr("10.96.0.1"), l.node.IPv4, vip.AnyNode4, l.pods[4].IPv4, true},
		{addr("fd00:96::1"), l.node.IPv6, vip.AnyNode6, l.pods[4].IPv6, l.HasIPv6()},
	} {
		if !c.has {
			t.Log("no IPv6 here")
			continue
		}
		for network, p := range map[string]cluster.Protocol{"tcp": cluster.TCP, "udp": cluster.UDP} {
			f := vip.Frontend{Addr: c.vip, Port: 80, Protocol: p}
			to := netip.AddrPortFrom(c.vip, 80)
			np := vip.Frontend{Addr: c.any, Port: 30009, Protocol: p}
			for n := 1; n <= 4; n++ { // each class: 1, 2, 3 to 4
				l.serve(f, vip.ClusterIP, l.pods[:n]...)
				for name, r := range l.answers(l.pods[4], network, to, l.pods[:n]...) {
					if r.Client.Addr() != c.client {
						t.Errorf("%s sees %v, want the client %v", name, r.Client, c.client)
					}
				}
				l.answers(l.node.Host, network, to, l.pods[:n]...)
			}
			l.serve(np, vip.NodePort, l.pods[:3]...)
			for name, r := range l.answers(l.Outside, network, netip.AddrPortFrom(c.node, 30009), l.pods[:3]...) {
				if !l.node.PodCIDR4.Contains(r.Client.Addr()) && !l.node.PodCIDR6.Contains(r.Client.Addr()) {
					t.Errorf("%s sees %v, want an address of the node on its bridge", name, r.Client)
				}
			}
			// A pod that is its own backend.
			l.serve(f, vip.ClusterIP, l.pods[0])
			if r, err := l.ask(l.pods[0], network, to); err != nil || r.Server != l.pods[0].Name {
				t.Errorf("%s hairpin: %v, %v", network, r, err)
			}
			l.serve(f, vip.ClusterIP)
			l.refused(l.pods[4], network, to)
			l.refused(l.node.Host, network, to)
			l.serve(np, vip.NodePort)
			l.refused(l.Outside, network, netip.AddrPortFrom(c.node, 30009))
		}
	}
}

// refused wants an immediate refusal, and not a timeout.
func (l *lab) refused(from *netlab.Host, network string, to netip.AddrPort) {
	l.t.Helper()
	_, err := l.ask(from, network, to)
	var timeout net.Error
	if network == "udp" && from == l.node.Host && errors.Is(err, syscall.EPERM) {
		return // what the kernel tells a local sender whose datagram is refused
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		l.t.Errorf("%s %s from %s: %v (timeout %v), want connection refused", network, to, from.Name, err, errors.As(err, &timeout) && timeout.Timeout())
	}
}

// TestRulesAreRebuiltUnnoticed opens connections all the time while the tables are
// built anew, each time with another mark.
func TestRulesAreRebuiltUnnoticed(t *testing.T) {
	l := newLab(t, 3)
	for r := range testTable(2_000, 5).All() { // so that it takes a while
		l.table.Set(r.Owner.Service, []*vip.Route{r})
	}
	f := vip.Frontend{Addr: addr("10.97.0.1"), Port: 80, Protocol: cluster.TCP}
	l.serve(f, vip.ClusterIP, l.pods[:2]...)
	stop, done := make(chan struct{}), make(chan error, 1)
	connections := 0
	go func() {
		done <- l.pods[2].Do(func() error {
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				connections++
				if err := netlab.ConnectOnce(netip.AddrPortFrom(f.Addr, 80)); err != nil {
					return fmt.Errorf("connection %d: %w", connections, err)
				}
			}
		})
	}()
	for i := range 10 {
		l.host.MasqueradeMark = 1 << (i + 8)
		if err := l.d.Sync(context.Background(), l.host, l.table); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if connections < 100 {
		t.Errorf("%d connections while the rules were rebuilt ten times: too few to tell", connections)
	}
	t.Logf("%d connections", connections)
}

// BenchmarkConnect opens TCP connections from a pod to a frontend among many.
func BenchmarkConnect(b *testing.B) {
	l := newLab(b, 6)
	many := testTable(10_000, 5)
	for r := range many.All() {
		l.table.Set(r.Owner.Service, []*vip.Route{r})
	}
	if err := l.d.Sync(context.Background(), l.host, l.table); err != nil {
		b.Fatal(err)
	}
	f := vip.Frontend{Addr: addr("10.96.255.1"), Port: 80, Protocol: cluster.TCP}
	l.serve(f, vip.ClusterIP, l.pods[:5]...)
	connect := func(b *testing.B, to netip.AddrPort) {
		b.ReportAllocs()
		err := l.pods[5].Do(func() error {
			for b.Loop() {
				if err := netlab.ConnectOnce(to); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.Run("direct", func(b *testing.B) { connect(b, netip.AddrPortFrom(l.pods[0].IPv4, 8080)) })
	b.Run("vip", func(b *testing.B) { connect(b, netip.AddrPortFrom(f.Addr, 80)) })
}

// BenchmarkNewFlow sends datagrams, each the first of a flow, to frontends of as
// many backends: what a new connection costs in the rules. The peer is no rules.
func BenchmarkNewFlow(b *testing.B) {
	for _, backends := range []int{0, 1, 5, 100} {
		b.Run(fmt.Sprintf("backends=%d", backends), func(b *testing.B) {
			l := newLab(b, 1)
			many := testTable(100_000/max(100, 10*backends), max(1, backends))
			for r := range many.All() {
				r.Protocol = cluster.UDP
				for i := range r.Cluster { // a discarding pod
					r.Cluster[i].AddrPort = netip.AddrPortFrom(l.pods[0].IPv4, 10_000+uint16(i))
				}
				if backends > 0 {
					l.table.Set(r.Owner.Service, []*vip.Route{r})
				}
			}
			if err := l.d.Sync(context.Background(), l.host, l.table); err != nil {
				b.Fatal(err)
			}
			var to []unix.SockaddrInet4
			for r := range many.All() {
				to = append(to, unix.SockaddrInet4{Addr: r.Addr.As4(), Port: 80})
			}
			err := l.node.Do(func() error { return sendFlows(b, to) })
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}

// sendFlows sends to one address after the other, each time round from another port.
func sendFlows(b *testing.B, to []unix.SockaddrInet4) error {
	fd, i := -1, 0
	var err error
	for b.Loop() {
		if i%len(to) == 0 {
			unix.Close(fd)
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
		}
		if err := unix.Sendto(fd, []byte("x"), 0, &to[i%len(to)]); err != nil && err != unix.ECONNREFUSED {
			return err
		}
		i++
	}
	return unix.Close(fd)
}
