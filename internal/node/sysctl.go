package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tracking holds the settings of the kernel's connection tracking. Zero leaves a setting
// unchanged.
type Tracking struct {
	MaxPerCore, Min              int // limit of connections; Min applies only together with MaxPerCore
	TCPEstablished, TCPCloseWait time.Duration
	UDP, UDPStream               time.Duration
	TCPBeLiberal                 bool
}

// Sysctl is a kernel setting of this network namespace.
type Sysctl struct {
	Key   string // below /proc/sys, with slashes
	Value int
}

// maxTracked is kube-proxy's upper limit since 1.36: each entry costs 300 bytes.
const maxTracked = 1 << 20

const (
	trackedMax = "net/netfilter/nf_conntrack_max"
	trackedNow = "net/netfilter/nf_conntrack_count"
	hashSize   = "/sys/module/nf_conntrack/parameters/hashsize"
)

// Sysctls returns the settings that a node needs: forwarding, and the requested limits and
// timeouts of connection tracking. It leaves IPv6 forwarding alone, because enabling it
// disconnects nodes that get their default route from router advertisements.
func (t Tracking) Sysctls(cpus int) []Sysctl {
	out := []Sysctl{{"net/ipv4/ip_forward", 1}}
	if t.MaxPerCore > 0 {
		out = append(out, Sysctl{trackedMax, min(max(t.MaxPerCore*cpus, t.Min), max(maxTracked, t.Min))})
	}
	for _, timeout := range []struct {
		name  string
		value time.Duration
	}{
		{"tcp_timeout_established", t.TCPEstablished},
		{"tcp_timeout_close_wait", t.TCPCloseWait},
		{"udp_timeout", t.UDP},
		{"udp_timeout_stream", t.UDPStream},
	} {
		if timeout.value > 0 {
			out = append(out, Sysctl{"net/netfilter/nf_conntrack_" + timeout.name, int(timeout.value / time.Second)})
		}
	}
	if t.TCPBeLiberal {
		out = append(out, Sysctl{"net/netfilter/nf_conntrack_tcp_be_liberal", 1})
	}
	return out
}

// Apply sets the settings that differ and returns the changed ones. Each failure is an
// error of its own in the joined error; the remaining settings are applied.
func Apply(list []Sysctl) (changed []Sysctl, err error) {
	if _, missing := os.Stat("/proc/sys/" + trackedMax); errors.Is(missing, fs.ErrNotExist) {
		loadTracking()
	}
	var failed []error
	for _, s := range list {
		did, err := s.set()
		if err != nil {
			failed = append(failed, err)
		}
		if did {
			changed = append(changed, s)
		}
	}
	return changed, errors.Join(failed...)
}

// String formats the setting as sysctl(8) does.
func (s Sysctl) String() string {
	return fmt.Sprintf("%s = %d", strings.ReplaceAll(s.Key, "/", "."), s.Value)
}

func (s Sysctl) set() (bool, error) {
	path := "/proc/sys/" + s.Key
	now, err := readNumber(path)
	if err != nil {
		return false, fmt.Errorf("setting %v: %w", s, err)
	}
	if now == s.Value {
		return false, nil
	}
	err = os.WriteFile(path, []byte(strconv.Itoa(s.Value)), 0)
	if err != nil && s.Key == trackedMax && now > s.Value && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)) {
		// The node is a container of another machine (kind, k3d) or a container without
		// privileges: the limit is read-only, and it is high enough.
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("setting %v (it is %d): %w", s, now, err)
	}
	if s.Key == trackedMax {
		return true, growHash(s.Value / 4)
	}
	return true, nil
}

// growHash enlarges the hash table of connection tracking to keep its chains short. All
// namespaces of the machine share the table; only the initial one can change its size.
func growHash(size int) error {
	now, err := readNumber(hashSize)
	if err != nil || now >= size {
		return nil // built into the kernel without parameters, or large enough already
	}
	if err := os.WriteFile(hashSize, []byte(strconv.Itoa(size)), 0); err != nil {
		return fmt.Errorf("setting %s to %d (it is %d): %w", hashSize, size, now, err)
	}
	return nil
}

func readNumber(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// loadTracking makes the kernel load its modules for connection tracking. Any request
// to ctnetlink does that; the answer does not matter.
func loadTracking() {
	_, _ = netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
}

// CPUs returns the number of CPUs of the machine, including those that this process may not use.
func CPUs() (int, error) {
	const path = "/sys/devices/system/cpu/online"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("counting processors: %w", err)
	}
	n, err := countCPUs(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("counting processors in %s: %w", path, err)
	}
	return n, nil
}

// countCPUs parses the kernel's list format: 0-3,8.
func countCPUs(list string) (int, error) {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, err := strconv.ParseUint(first, 10, 16)
		b, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || b < a {
			return 0, fmt.Errorf("parse CPU list: got %q, want a list such as 0-3,8", list)
		}
		n += int(b-a) + 1
	}
	return n, nil
}
