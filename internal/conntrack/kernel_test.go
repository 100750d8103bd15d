package conntrack

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
)

// host makes a namespace with flows in its table, and a cleaner in it whose results
// arrive in the channel.
func host(t *testing.T) (*netlab.Host, *Cleaner, chan Result) {
	t.Helper()
	n := netlab.New(t, netlab.Config{Nodes: 1}).Node(1)
	results := make(chan Result, 10)
	var c *Cleaner
	if err := n.Do(func() (err error) { c, err = New(func(r Result) { results <- r }); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return n.Host, c, results
}

// run runs the cleaner until the test ends.
func run(t *testing.T, c *Cleaner) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); c.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
}

// trackAs is track for TCP connections in another state than established.
func trackAs(t *testing.T, h *netlab.Host, state uint8, client, dialled, answerer string) {
	t.Helper()
	f := tuples(unix.IPPROTO_TCP, client, dialled, answerer)
	f.ProtoInfo = &netlink.ProtoInfoTCP{State: state}
	if err := h.Do(func() error {
		return netlink.ConntrackCreate(netlink.ConntrackTable, netlink.InetFamily(f.FamilyType), f)
	}); err != nil {
		t.Fatalf("tracking a connection from %s to %s: %v", client, dialled, err)
	}
}

// track puts a flow into the table: from a client to dialled, answered by answerer.
func track(t *testing.T, h *netlab.Host, protocol uint8, client, dialled, answerer string) {
	t.Helper()
	if protocol == unix.IPPROTO_TCP {
		trackAs(t, h, nl.TCP_CONNTRACK_ESTABLISHED, client, dialled, answerer)
		return
	}
	f := tuples(protocol, client, dialled, answerer)
	if err := h.Do(func() error {
		return netlink.ConntrackCreate(netlink.ConntrackTable, netlink.InetFamily(f.FamilyType), f)
	}); err != nil {
		t.Fatalf("tracking a flow from %s to %s: %v", client, dialled, err)
	}
}

func tuples(protocol uint8, client, dialled, answerer string) *netlink.ConntrackFlow {
	c, d, a := at(client), at(dialled), at(answerer)
	family := netlink.InetFamily(unix.AF_INET)
	if d.Addr().Is6() {
		family = unix.AF_INET6
	}
	return &netlink.ConntrackFlow{
		FamilyType: uint8(family), TimeOut: 600,
		Forward: netlink.IPTuple{Protocol: protocol, SrcIP: c.Addr().AsSlice(), SrcPort: c.Port(), DstIP: d.Addr().AsSlice(), DstPort: d.Port()},
		Reverse: netlink.IPTuple{Protocol: protocol, SrcIP: a.Addr().AsSlice(), SrcPort: a.Port(), DstIP: c.Addr().AsSlice(), DstPort: c.Port()},
	}
}

// tracked lists the flows of the table as "protocol client dialled answerer", sorted.
func tracked(t *testing.T, h *netlab.Host) []string {
	t.Helper()
	var out []string
	err := h.Do(func() error {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				return err
			}
			for _, f := range flows {
				out = append(out, fmt.Sprintf("%d %s %s %s", f.Forward.Protocol, side(f.Forward.SrcIP, f.Forward.SrcPort),
					side(f.Forward.DstIP, f.Forward.DstPort), side(f.Reverse.SrcIP, f.Reverse.SrcPort)))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out = slices.DeleteFunc(out, func(s string) bool { return !strings.HasPrefix(s, "17 ") && !strings.HasPrefix(s, "6 ") })
	slices.Sort(out)
	return out
}

func side(ip net.IP, port uint16) string {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port).String()
}

func TestCleanRemovesStaleFlowsOnly(t *testing.T) {
	h, c, results := host(t)
	stay := [][4]string{
		{"10.244.1.9:1001", "10.96.0.10:53", "10.244.1.2:53"},
		{"10.244.1.9:1002", "10.96.0.99:53", "10.244.9.9:53"},
		{"192.0.2.1:1003", "172.30.0.11:30053", "10.244.1.2:53"},
		{"192.0.2.1:1004", "198.51.100.1:30053", "198.51.100.1:30053"},
		{"[fd00:10::9]:1005", "[fd00::a]:53", "[fd00:10::2]:53"},
	}
	leave := [][4]string{
		{"10.244.1.9:2001", "10.96.0.10:53", "10.244.2.2:53"},
		{"10.244.1.9:2002", "10.96.0.10:53", "10.96.0.10:53"},
		{"10.244.1.9:2003", "10.96.0.12:53", "10.244.1.2:53"},
		{"192.0.2.1:2004", "172.30.0.11:30053", "10.244.2.2:53"},
		{"[fd00:10::9]:2005", "[fd00::a]:53", "[fd00:10::3]:53"},
	}
	var want []string
	for _, f := range stay {
		track(t, h, unix.IPPROTO_UDP, f[0], f[1], f[2])
		want = append(want, fmt.Sprintf("17 %s %s %s", f[0], f[1], f[2]))
	}
	for _, f := range leave {
		track(t, h, unix.IPPROTO_UDP, f[0], f[1], f[2])
		if f[1] == "10.96.0.10:53" { // a connection to the same place
			track(t, h, unix.IPPROTO_TCP, f[0], f[1], f[2])
			want = append(want, fmt.Sprintf("6 %s %s %s", f[0], f[1], f[2]))
		}
	}
	slices.Sort(want)

	run(t, c)
	c.Clean([]netip.Addr{netip.MustParseAddr("172.30.0.11")}, []Keep{
		keep("10.96.0.10:53", "10.244.1.2:53"), keep("10.96.0.12:53", ""),
		keep("0.0.0.0:30053", "10.244.1.2:53"), keep("[fd00::a]:53", "[fd00:10::2]:53"),
	})
	for range 2 {
		want := map[bool]int{false: len(leave) - 1, true: 1}
		if r := <-results; r.Err != nil || r.Removed != want[r.IPv6] {
			t.Errorf("removed %d flows (IPv6: %v), %v; want %d", r.Removed, r.IPv6, r.Err, want[r.IPv6])
		}
	}
	if got := tracked(t, h); !slices.Equal(got, want) {
		t.Errorf("left\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// However much is asked before the table is read, it is read once.
func TestManyRequestsAreOneReading(t *testing.T) {
	h, c, results := host(t)
	for i := range 50 {
		track(t, h, unix.IPPROTO_UDP, fmt.Sprintf("10.244.1.9:%d", 1000+i), fmt.Sprintf("10.96.0.%d:53", i+1), "10.244.2.2:53")
	}
	for i := range 50 {
		c.Clean(nil, []Keep{keep(fmt.Sprintf("10.96.0.%d:53", i+1), "")})
	}
	run(t, c)
	if r := <-results; r.Removed != 50 || r.Err != nil {
		t.Errorf("the first reading removed %d, %v; want 50", r.Removed, r.Err)
	}
	if n := len(tracked(t, h)); n != 0 {
		t.Errorf("%d flows are left", n)
	}
	select {
	case r := <-results:
		t.Errorf("another reading: %+v", r)
	default:
	}
}

// Nothing to look for reads nothing.
func TestNothingToLookFor(t *testing.T) {
	_, c, results := host(t)
	sctp := keep("10.96.0.1:443", "")
	sctp.Frontend.Protocol = cluster.SCTP
	c.Clean(nil, nil)
	c.Clean(nil, []Keep{sctp})
	select {
	case <-c.wake:
		t.Error("the cleaner was woken for nothing")
	default:
	}
	if c.once(); len(results) != 0 {
		t.Error("the table was read for nothing")
	}
}

// The kernel sends the UDP flows alone: a node has many more of TCP.
func TestKernelFiltersTheTable(t *testing.T) {
	h, c, _ := host(t)
	for i := range 100 {
		track(t, h, unix.IPPROTO_TCP, fmt.Sprintf("10.244.1.9:%d", 1000+i), "10.96.0.10:53", "10.244.2.2:53")
	}
	track(t, h, unix.IPPROTO_UDP, "10.244.1.9:1000", "10.96.0.10:53", "10.244.2.2:53")
	messages := 0
	if err := c.execute(dumpRequest(part{protocol: cluster.UDP}), func([]byte) bool { messages++; return true }); err != nil {
		t.Fatal(err)
	}
	if messages != 1 {
		t.Errorf("the kernel sent %d flows, want 1", messages)
	}
}

// Of TCP the kernel sends connections without an answer alone: most have one.
func TestKernelFiltersAnswered(t *testing.T) {
	d := newDraining(t, 514)
	if _, err := d.client.Ask(t.Context(), "tcp", d.backend); err != nil {
		t.Fatal(err)
	}
	trackAs(t, d.node.Host, nl.TCP_CONNTRACK_SYN_SENT, "10.244.1.9:1000", "10.96.0.10:80", "10.96.0.10:80")
	for unanswered, want := range map[bool]int{false: 2, true: 1} {
		messages := 0
		if err := d.cleaner.execute(dumpRequest(part{protocol: cluster.TCP, unanswered: unanswered}), func([]byte) bool { messages++; return true }); err != nil {
			t.Fatal(err)
		}
		if messages != want {
			t.Errorf("unanswered %v: the kernel sent %d connections, want %d", unanswered, messages, want)
		}
	}
}

// An error keeps the work for another time.
func TestWorkOutlivesAnError(t *testing.T) {
	_, c, results := host(t)
	c.Clean(nil, []Keep{keep("10.96.0.10:53", "")})
	c.Close()
	if pause := c.once(); pause != again {
		t.Errorf("rests for %v, want %v", pause, again)
	}
	if r := <-results; r.Err == nil || !strings.Contains(r.Err.Error(), "reading the tracked flows") {
		t.Errorf("error %v", r.Err)
	}
	if c.pending.empty() {
		t.Error("the work is lost")
	}
}

// A client that keeps its port is served by the new backend after the old one left,
// and would not be without a Cleaner.
func TestClientReachesTheNewBackend(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: install nftables", err)
	}
	lab := netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true})
	n := lab.Node(1)
	var pods []*netlab.Host
	for _, name := range []string{"client", "old", "new"} {
		p, err := n.AddPod(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Echo(53); err != nil {
			t.Fatal(err)
		}
		pods = append(pods, p)
	}
	client, old, fresh := pods[0], pods[1], pods[2]
	send := func(to *netlab.Host) { t.Helper(); translate(t, n.Host, to, 53) }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	send(old)
	conn, err := client.Dial(ctx, "udp", at("10.96.0.10:53"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func() string {
		t.Helper()
		buf := make([]byte, 512)
		for {
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(time.Second))
			size, err := conn.Read(buf)
			if err == nil {
				r, err := netlab.ParseReply(string(buf[:size]))
				if err != nil {
					t.Fatal(err)
				}
				return r.Server
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
		}
	}
	if got := ask(); got != "old" {
		t.Fatalf("%s answered at first", got)
	}
	send(fresh)
	if got := ask(); got != "old" {
		t.Fatalf("%s answered: this kernel needs no cleaner, and the test shows nothing", got)
	}
	var c *Cleaner
	results := make(chan Result, 1)
	if err := n.Do(func() (err error) { c, err = New(func(r Result) { results <- r }); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run(t, c)
	c.Clean(nil, []Keep{{Frontend: udp("10.96.0.10:53"), Backends: []netip.AddrPort{netip.AddrPortFrom(fresh.IPv4, 53)}}})
	if r := <-results; r.Err != nil || r.Removed != 1 {
		t.Errorf("removed %d, %v; want 1", r.Removed, r.Err)
	}
	if got := ask(); got != "new" {
		t.Errorf("%s answered after the cleaning", got)
	}
}

// translate leads the VIP to a pod, with a rule of our own.
func translate(t *testing.T, n, to *netlab.Host, port uint16) {
	t.Helper()
	rules := fmt.Sprintf("table ip t {\nchain c {\ntype nat hook prerouting priority -100;\n}\n}\nflush chain ip t c\n"+
		"add rule ip t c ip daddr 10.96.0.10 udp dport %d dnat to %s", port, to.IPv4)
	err := n.Do(func() error {
		cmd := exec.Command("nft", "-f", "-")
		cmd.Stdin = strings.NewReader(rules)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("nft: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
