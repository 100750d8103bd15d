//go:build linux

package netlab

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// readFacts reads the settings of this machine that [explain] needs. What cannot be read is unknown.
func readFacts() facts {
	status, _ := os.ReadFile("/proc/thread-self/status")
	mounts, _ := os.ReadFile("/proc/thread-self/mountinfo")
	return facts{
		root:             os.Geteuid() == 0,
		maxUserNS:        readNumber("/proc/sys/user/max_user_namespaces"),
		maxNetNS:         readNumber("/proc/sys/user/max_net_namespaces"),
		unprivilegedNS:   readNumber("/proc/sys/kernel/unprivileged_userns_clone"),
		apparmorRestrict: readNumber("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
		seccomp:          seccompMode(string(status)),
		container:        exists("/.dockerenv") || exists("/run/.containerenv"),
		maskedProc:       maskedProc(string(mounts)),
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readNumber(path string) int {
	text, err := os.ReadFile(path)
	if err != nil {
		return unknown
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return unknown
	}
	return n
}

// seccompMode finds the mode (0 off, 1 strict, 2 filter) in the text of /proc/PID/status.
func seccompMode(status string) int {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
				return n
			}
		}
	}
	return unknown
}

// maskedProc lists the mounts below /proc in the text of mountinfo (proc_pid_mountinfo(5), field 5) that hide some of it.
// binfmt_misc and nfsd lie on directories that are empty anyway; the kernel does not mind those.
func maskedProc(mountinfo string) []string {
	var hidden []string
	for line := range strings.Lines(mountinfo) {
		fields := strings.Fields(line)
		if len(fields) < 5 || !strings.HasPrefix(fields[4], "/proc/") {
			continue
		}
		if at := fields[4]; at != "/proc/sys/fs/binfmt_misc" && at != "/proc/fs/nfsd" && !slices.Contains(hidden, at) {
			hidden = append(hidden, at)
		}
	}
	return hidden
}
