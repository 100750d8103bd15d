package node

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Facts describe the kernel and the rights of this process.
type Facts struct {
	Kernel      string // release, as uname -r prints it
	IPv6        bool   // supported and not disabled
	Forwarding4 bool
	Forwarding6 bool
	NetAdmin    bool // this process has CAP_NET_ADMIN
}

// ReadFacts reads the facts. What cannot be read counts as absent.
func ReadFacts() Facts {
	var f Facts
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		f.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	_, err := os.Stat("/proc/net/if_inet6")
	f.IPv6 = err == nil && !isOn("net/ipv6/conf/all/disable_ipv6")
	f.Forwarding4 = isOn("net/ipv4/ip_forward")
	f.Forwarding6 = isOn("net/ipv6/conf/all/forwarding")
	f.NetAdmin = hasCapability(unix.CAP_NET_ADMIN)
	return f
}

func isOn(sysctl string) bool {
	n, err := readNumber("/proc/sys/" + sysctl)
	return err == nil && n != 0
}

// hasCapability reports whether the process has an effective capability.
func hasCapability(capability int) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "CapEff:"); ok {
			set, err := strconv.ParseUint(strings.TrimSpace(text), 16, 64)
			return err == nil && set&(1<<capability) != 0
		}
	}
	return false
}

// SetOOMScore sets oom_score_adj of this process, from -1000 to 1000: processes with a higher
// value are killed first when memory is short. Lowering the value needs CAP_SYS_RESOURCE.
func SetOOMScore(score int32) error {
	const path = "/proc/self/oom_score_adj"
	if now, err := readNumber(path); err == nil && now == int(score) {
		return nil
	}
	if err := os.WriteFile(path, []byte(strconv.Itoa(int(score))), 0); err != nil {
		return fmt.Errorf("setting %s to %d: %w", path, score, err)
	}
	return nil
}
