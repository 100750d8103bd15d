//go:build linux

package netlab

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"
)

func TestPlan(t *testing.T) {
	both, four := plan{ipv6: true}, plan{}
	for _, tt := range []struct {
		name string
		got  subnet
		want string
	}{
		{"switch", both.fabric().host(switchHost), "172.30.0.1/24 fd00:30::1/64"},
		{"node 2", both.fabric().host(nodeHost + 2), "172.30.0.12/24 fd00:30::c/64"},
		{"last node", both.fabric().host(nodeHost + maxNodes), "172.30.0.210/24 fd00:30::d2/64"},
		{"pods of node 1", both.pods(1), "10.244.1.0/24 fd00:10:244:1::/64"},
		{"pods of node 200", both.pods(200), "10.244.200.0/24 fd00:10:244:c8::/64"},
		{"pod", both.pods(2).host(17), "10.244.2.17/24 fd00:10:244:2::11/64"},
		{"IPv4 only", four.pods(2).host(17), "10.244.2.17/24 invalid Prefix"},
		{"default route", both.everywhere(), "0.0.0.0/0 ::/0"},
	} {
		if got := fmt.Sprint(tt.got.v4, " ", tt.got.v6); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestNextFree compares with a walk that tries one number after the other.
func TestNextFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		last := rapid.IntRange(firstPodHost-1, maxPodHost).Draw(t, "last")
		used := map[int]bool{}
		if rapid.Bool().Draw(t, "full") {
			for n := firstPodHost; n <= maxPodHost; n++ {
				used[n] = true
			}
			for _, n := range rapid.SliceOfN(rapid.IntRange(firstPodHost, maxPodHost), 0, 3).Draw(t, "freed") {
				delete(used, n)
			}
		} else {
			for _, n := range rapid.SliceOf(rapid.IntRange(firstPodHost, maxPodHost)).Draw(t, "used") {
				used[n] = true
			}
		}
		want, wantOK := 0, false
		for n, steps := last, 0; steps < maxPodHost; steps++ {
			if n++; n > maxPodHost {
				n = firstPodHost
			}
			if !used[n] {
				want, wantOK = n, true
				break
			}
		}
		if got, ok := nextFree(last, used); got != want || ok != wantOK {
			t.Fatalf("nextFree(%d, %v) = %d, %v, want %d, %v", last, used, got, ok, want, wantOK)
		}
	})
}

func TestReplyRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		addr := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ip")))
		if rapid.Bool().Draw(t, "six") {
			addr = netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ip6")))
		}
		want := Reply{
			Server: rapid.StringMatching(`[a-z0-9]([-a-z0-9]{0,60}[a-z0-9])?`).Draw(t, "server"),
			Client: netip.AddrPortFrom(addr, rapid.Uint16().Draw(t, "port")),
		}
		if got, err := ParseReply(want.String()); err != nil || got != want {
			t.Fatalf("got %v, %v, want %v", got, err, want)
		}
	})
}

func FuzzParseReply(f *testing.F) {
	f.Add("server: web-1\nclient: 10.0.0.1:80\n")
	f.Add("server: \nclient: [::1]:80")
	f.Add("client: 10.0.0.1")
	f.Fuzz(func(t *testing.T, text string) {
		if r, err := ParseReply(text); err == nil && (r.Server == "" || !r.Client.IsValid()) {
			t.Errorf("accepted %q as %v", text, r)
		}
	})
}

func TestParseIDMap(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []syscall.SysProcIDMap
	}{
		{"machine", "         0          0 4294967295\n", []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 4294967295}}},
		{"rootless", "0 1000 1\n1 100000 65536\n", []syscall.SysProcIDMap{
			{ContainerID: 0, HostID: 0, Size: 1}, {ContainerID: 1, HostID: 1, Size: 65536}}},
		{"empty", "", nil},
		{"words", "a b c\n", nil},
		{"two numbers", "0 0\n", nil},
		{"no range", "0 0 0\n", nil},
	} {
		got, err := parseIDMap(tt.text)
		if !reflect.DeepEqual(got, tt.want) || (err == nil) != (tt.want != nil) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func FuzzParseIDMap(f *testing.F) {
	f.Add("0 0 4294967295\n")
	f.Add("0 1000 1\n1 100000 65536\n")
	f.Fuzz(func(t *testing.T, text string) {
		maps, err := parseIDMap(text)
		if (err == nil) != (len(maps) > 0) {
			t.Errorf("%q: got %v, %v", text, maps, err)
		}
	})
}

func TestHostsByDNS(t *testing.T) {
	const text = "passwd: files\nhosts:          files mdns4_minimal [NOTFOUND=return] resolve dns\nnetworks: files\n"
	if got, want := hostsByDNS(text), "passwd: files\nhosts: files dns\nnetworks: files\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestSeccompMode(t *testing.T) {
	for text, want := range map[string]int{
		"Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n": 2, "Seccomp:\t0\n": 0, "Name:\tx\n": unknown, "Seccomp:\tx\n": unknown,
	} {
		if got := seccompMode(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

func TestMaskedProc(t *testing.T) {
	const mountinfo = `22 1 0:21 / /proc rw - proc proc rw
23 22 0:22 / /proc/sys/fs/binfmt_misc rw - autofs systemd-1 rw
24 22 0:23 / /proc/kcore rw - tmpfs tmpfs rw
25 22 0:23 / /proc/kcore rw - tmpfs tmpfs rw
26 22 0:21 /sys /proc/sys ro - proc proc ro
27 1 0:24 / /process rw - tmpfs tmpfs rw
short line
`
	if got, want := strings.Join(maskedProc(mountinfo), " "), "/proc/kcore /proc/sys"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestExplain goes through the machines we know of: each must get its own reason and a way round.
func TestExplain(t *testing.T) {
	plain := facts{maxUserNS: 1000, maxNetNS: 1000, unprivilegedNS: unknown, apparmorRestrict: unknown}
	with := func(change func(*facts)) facts {
		f := plain
		change(&f)
		return f
	}
	const create = "create namespaces"
	for _, tt := range []struct {
		name         string
		step         string
		errno        syscall.Errno
		facts        facts
		reason, hint string
	}{
		{"user namespaces off", create, syscall.ENOSPC, with(func(f *facts) { f.maxUserNS = 0 }), "user.max_user_namespaces is 0", "sysctl -w user.max_user_namespaces"},
		{"network namespaces off", create, syscall.ENOSPC, with(func(f *facts) { f.maxNetNS = 0 }), "user.max_net_namespaces is 0", "sysctl -w user.max_net_namespaces"},
		{"too many", create, syscall.ENOSPC, plain, "a limit on the number", "lsns"},
		{"kernel without", create, syscall.EINVAL, plain, "built without", "CONFIG_USER_NS"},
		{"Debian 10", create, syscall.EPERM, with(func(f *facts) { f.unprivilegedNS = 0 }), "kernel.unprivileged_userns_clone", "sysctl -w kernel.unprivileged_userns_clone=1"},
		{"Ubuntu 24.04", "mount /proc", syscall.EACCES, with(func(f *facts) { f.apparmorRestrict = 1 }), "AppArmor", "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"Ubuntu 24.04, id map", create, syscall.EPERM, with(func(f *facts) { f.apparmorRestrict = 1 }), "AppArmor", "as root"},
		{"Docker", create, syscall.EPERM, with(func(f *facts) { f.container, f.seccomp, f.root = true, 2, true }), "container", "seccomp=unconfined"},
		{"Docker, masked /proc", "mount /proc", syscall.EPERM, with(func(f *facts) { f.container, f.maskedProc = true, []string{"/proc/kcore"} }), "/proc/kcore", "systempaths=unconfined"},
		{"seccomp elsewhere", create, syscall.EPERM, with(func(f *facts) { f.seccomp = 2 }), "seccomp filter", "outside of the confinement"},
		{"root without capabilities", create, syscall.EPERM, with(func(f *facts) { f.root = true }), "CAP_SYS_ADMIN", "ordinary user"},
		{"chroot", create, syscall.EPERM, plain, "chroot", "as root"},
		{"no bridge", "create a bridge", syscall.EOPNOTSUPP, plain, "no such kind", "modprobe bridge"},
		{"something else", "mount a tmpfs", syscall.EIO, plain, "not known", "as root"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reason, remedy := explain(failedStep{Step: tt.step, Errno: tt.errno}, tt.facts)
			if !strings.Contains(reason, tt.reason) || !strings.Contains(remedy, tt.hint) {
				t.Errorf("got reason %q, remedy %q, want them to name %q and %q", reason, remedy, tt.reason, tt.hint)
			}
		})
	}
}

// judge records what Need says to a test.
type judge struct{ verdict string }

func (j *judge) Helper()               {}
func (j *judge) Cleanup(func())        {}
func (j *judge) Skipf(string, ...any)  { j.verdict = "skip" }
func (j *judge) Fatalf(string, ...any) { j.verdict = "fatal" }

func TestNeed(t *testing.T) {
	wasInside, wasRefused := inside, refusedHere
	t.Cleanup(func() { inside, refusedHere = wasInside, wasRefused })
	for _, tt := range []struct {
		name    string
		inside  bool
		refused error
		ci      string
		want    string
	}{
		{"inside", true, nil, "", ""},
		{"refused", false, &Refused{}, "", "skip"},
		{"refused in CI", false, &Refused{}, "true", "fatal"},
		{"TestMain forgotten", false, nil, "", "fatal"},
	} {
		inside, refusedHere = tt.inside, tt.refused
		t.Setenv("CI", tt.ci)
		var j judge
		if Need(&j); j.verdict != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, j.verdict, tt.want)
		}
	}
}
