package node

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// eventually waits for something that another goroutine or the kernel brings about.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so after 10 s", what)
		}
	}
}

func TestMachineFollowsAddresses(t *testing.T) {
	netlab.Need(t)
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br-test"}}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	m, err := NewMachine()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx, t.Logf) }()
	defer func() { cancel(); <-ended }()

	for _, text := range []string{"192.0.2.77", "2001:db8::77"} {
		a := netip.MustParseAddr(text)
		address := &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}}
		if err := netlink.AddrAdd(link, address); err != nil {
			t.Fatal(err)
		}
		<-m.Changed()
		eventually(t, text+" is there", func() bool { return slices.Contains(m.Addrs(), a) })
		if err := netlink.AddrDel(link, address); err != nil {
			t.Fatal(err)
		}
		<-m.Changed()
		eventually(t, text+" is gone", func() bool { return !slices.Contains(m.Addrs(), a) })
	}
	if got := m.Addrs(); !slices.IsSortedFunc(got, netip.Addr.Compare) {
		t.Errorf("not sorted: %s", got)
	}
}

// A change between reading and subscribing is not lost.
func TestMachineSeesWhatHappenedBeforeRun(t *testing.T) {
	netlab.Need(t)
	m, err := NewMachine()
	if err != nil {
		t.Fatal(err)
	}
	m.addrs = addrs("203.0.113.1") // as if the machine had had another address then
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx, t.Logf) }()
	<-m.Changed()
	cancel()
	<-ended
	if slices.Contains(m.Addrs(), netip.MustParseAddr("203.0.113.1")) {
		t.Error("the address is still there")
	}
}

func TestApplySetsWhatDiffers(t *testing.T) {
	netlab.Need(t)
	list := Tracking{UDP: 33 * time.Second, TCPCloseWait: 44 * time.Second}.Sysctls(1)
	first, err := Apply(list)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(first, Sysctl{"net/netfilter/nf_conntrack_udp_timeout", 33}) {
		t.Errorf("changed %v, without the UDP timeout", first)
	}
	for _, s := range list {
		if got, err := readNumber("/proc/sys/" + s.Key); err != nil || got != s.Value {
			t.Errorf("%v: it is %d, %v", s, got, err)
		}
	}
	if again, err := Apply(list); len(again) > 0 || err != nil {
		t.Errorf("the second time: changed %v, %v", again, err)
	}
}

// One setting that cannot be set names itself and does not keep the others back.
func TestApplyGoesOnAfterAnError(t *testing.T) {
	netlab.Need(t)
	_, err := Apply([]Sysctl{{"net/ipv4/no_such_key", 1}, {"net/netfilter/nf_conntrack_udp_timeout", 55}})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "setting net.ipv4.no_such_key = 1") {
		t.Errorf("error %v", err)
	}
	if got, _ := readNumber("/proc/sys/net/netfilter/nf_conntrack_udp_timeout"); got != 55 {
		t.Errorf("the other setting is %d, want 55", got)
	}
}

// The limit is one for the machine: a namespace below the first one cannot change it.
// If it is too low the message tells the value that is wanted; more than that is fine.
func TestApplyCannotChangeTheMachine(t *testing.T) {
	netlab.Need(t)
	before, err := readNumber("/proc/sys/" + trackedMax)
	if err != nil {
		t.Fatal(err)
	}
	size, _ := readNumber(hashSize)
	_, err = Apply([]Sysctl{{trackedMax, before + 1}})
	if after, _ := readNumber(hashSize); after != size {
		t.Errorf("the machine's hash size went from %d to %d", size, after)
	}
	if err == nil {
		t.Skip("this kernel has a limit per namespace")
	}
	if !strings.Contains(err.Error(), "setting net.netfilter.nf_conntrack_max = ") {
		t.Errorf("error %v", err)
	}
	enough := func(when string) {
		t.Helper()
		changed, err := Apply([]Sysctl{{trackedMax, before - 1}})
		if len(changed) > 0 || err != nil {
			t.Errorf("%s, the machine tracks one more than is wanted: changed %v, error %v", when, changed, err)
		}
	}
	enough("without the right")
	const dir = "/proc/sys/net"
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	enough("on a file system for reading")
	if _, err := Apply([]Sysctl{{trackedMax, before + 1}}); !errors.Is(err, unix.EROFS) {
		t.Errorf("on a file system for reading, one more is wanted: error %v", err)
	}
}

func TestClaim(t *testing.T) {
	netlab.Need(t)
	release, _, err := Claim()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, _, err := Claim(); !errors.Is(err, ErrClaimed) {
			t.Fatalf("the second claim: %v, want ErrClaimed", err)
		}
	}
	release()
	release, foreign, err := Claim()
	if err != nil || foreign != "" {
		t.Fatalf("after the release: %q %v", foreign, err)
	}
	release()
}

// A socket that has the name and is no forwarder's keeps no forwarder from starting.
func TestClaimIgnoresSocketsThatDoNotAnswer(t *testing.T) {
	netlab.Need(t)
	for name, backlog := range map[string]int{"bound": -1, "with a full queue": 0} {
		t.Run(name, func(t *testing.T) {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if err := unix.Bind(fd, &unix.SockaddrUnix{Name: claimed}); err != nil {
				t.Fatal(err)
			}
			if backlog >= 0 {
				if err := unix.Listen(fd, backlog); err != nil {
					t.Fatal(err)
				}
				first, err := net.Dial("unix", claimed) // all that the queue takes
				if err != nil {
					t.Fatal(err)
				}
				defer first.Close()
			}
			release, foreign, err := Claim()
			if err != nil || !strings.Contains(foreign, "does not answer") {
				t.Fatalf("claim: %q %v, want none and that a socket does not answer", foreign, err)
			}
			release()
		})
	}
}

// Another network namespace is another node.
func TestClaimIsOfTheNamespace(t *testing.T) {
	lab := netlab.New(t, netlab.Config{Nodes: 2})
	for _, n := range lab.Nodes {
		var release func()
		if err := n.Do(func() (err error) { release, _, err = Claim(); return err }); err != nil {
			t.Fatal(err)
		}
		defer release()
	}
}

func TestFacts(t *testing.T) {
	netlab.Need(t)
	if _, err := Apply(Tracking{}.Sysctls(1)); err != nil {
		t.Fatal(err)
	}
	f := ReadFacts()
	if f.Kernel == "" || !f.Forwarding4 || !f.NetAdmin {
		t.Errorf("%+v: want a kernel, IPv4 forwarding and NetAdmin", f)
	}
	if hasCapability(unix.CAP_LAST_CAP + 1) {
		t.Error("has a capability that does not exist")
	}
	if n, err := CPUs(); err != nil || n < 1 {
		t.Errorf("%d processors, %v", n, err)
	}
}

func TestSetOOMScore(t *testing.T) {
	const path = "/proc/self/oom_score_adj"
	now, err := readNumber(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := SetOOMScore(int32(now)); err != nil {
		t.Errorf("the score that it has: %v", err)
	}
	if err := SetOOMScore(2000); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a score that does not exist: %v", err)
	}
	if after, _ := os.ReadFile(path); strings.TrimSpace(string(after)) == "2000" {
		t.Error("it was set")
	}
}

// TestReadTracked reads what the kernel says of this network namespace.
func TestReadTracked(t *testing.T) {
	netlab.Need(t)
	if _, err := Apply(Tracking{}.Sysctls(1)); err != nil {
		t.Fatal(err)
	}
	loadTracking()
	got, err := ReadTracked()
	if err != nil || got.Limit < 1 || got.Connections < 0 || got.Connections > got.Limit {
		t.Errorf("%+v, %v: want a limit, and no more than that", got, err)
	}
}

// Who serves a port is known by the kernel.
func TestTrust(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := Trust(c); err == nil {
		t.Error("no process has accepted the connection, and it is believed")
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := Trust(c); err != nil {
		t.Errorf("the own process: %v", err)
	}
	server.Close()
	if err := Trust(c); err == nil {
		t.Error("a process that is gone is believed")
	}
	for _, tt := range []struct {
		user, us uint32
		want     string
	}{{0, 1000, ""}, {1000, 1000, ""}, {1000, 0, "got user 1000, want root or user 0"}, {1000, 1001, "got user 1000"}} {
		err := trusted(&netlink.Socket{State: established, INode: 7, UID: tt.user}, tt.us)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("user %d for %d: %v, want %q", tt.user, tt.us, err, tt.want)
		}
	}
}
