//go:build linux

package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// Refused is the error of a machine that does not let this user have a [Sandbox]. It names what was refused, why as
// far as the machine's settings tell, and the way round.
type Refused struct {
	Step   string // what was attempted
	Err    string // the kernel's answer
	Reason string // the setting behind it, as far as it can be seen
	Remedy string // what a person can do
}

func (r *Refused) Error() string {
	return fmt.Sprintf("private namespaces: %s: %s\n  why:       %s\n  way round: %s", r.Step, r.Err, r.Reason, r.Remedy)
}

// failedStep is what init reports to its starter.
type failedStep struct {
	Step  string        `json:"step"`
	Err   string        `json:"err"`
	Errno syscall.Errno `json:"errno"`
}

// errnoOf returns the system call error inside err, or 0.
func errnoOf(err error) syscall.Errno {
	errno, _ := errors.AsType[syscall.Errno](err)
	return errno
}

// parseRefusal turns init's report into a [*Refused].
func parseRefusal(report []byte) error {
	var step failedStep
	if err := json.Unmarshal(report, &step); err != nil {
		return fmt.Errorf("set up sandbox: unreadable report %q: %w", report, err)
	}
	return refusal(step)
}

// refusal explains a failed step by the settings of this machine.
func refusal(step failedStep) *Refused {
	reason, remedy := explain(step, readFacts())
	return &Refused{Step: step.Step, Err: step.Err, Reason: reason, Remedy: remedy}
}

// facts are the settings of a machine that decide about namespaces. unknown (-1) stands for a setting it does not have.
type facts struct {
	root             bool
	maxUserNS        int // user.max_user_namespaces
	maxNetNS         int // user.max_net_namespaces
	unprivilegedNS   int // kernel.unprivileged_userns_clone: Debian's and Arch's patch
	apparmorRestrict int // kernel.apparmor_restrict_unprivileged_userns: Ubuntu since 23.10
	seccomp          int // Seccomp of /proc/self/status: 2 is a filter
	container        bool
	maskedProc       []string // mounts that hide parts of /proc
}

const unknown = -1

const containerRemedy = "start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined " +
	"--security-opt systempaths=unconfined (or --privileged)"

// explain finds the most likely reason of a failed step, first match wins, and the way round.
func explain(step failedStep, f facts) (reason, remedy string) {
	denied := step.Errno == syscall.EPERM || step.Errno == syscall.EACCES
	creating := step.Step == "create namespaces" || step.Step == "create a network namespace"
	rules := []struct {
		match          bool
		reason, remedy string
	}{
		{step.Errno == syscall.ENOSPC && f.maxUserNS == 0, "user.max_user_namespaces is 0: nobody may create user namespaces",
			"sudo sysctl -w user.max_user_namespaces=10000"},
		{step.Errno == syscall.ENOSPC && f.maxNetNS == 0, "user.max_net_namespaces is 0: nobody may create network namespaces",
			"sudo sysctl -w user.max_net_namespaces=10000"},
		{step.Errno == syscall.ENOSPC, "a limit on the number of namespaces, or on their nesting (32), is reached",
			"raise user.max_*_namespaces (sysctl -a | grep namespaces), or stop what holds them (lsns)"},
		{creating && step.Errno == syscall.EINVAL, "this kernel is built without user, network, mount, pid or UTS namespaces",
			"use a kernel with CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_PID_NS and CONFIG_UTS_NS"},
		{denied && f.unprivilegedNS == 0 && !f.root, "kernel.unprivileged_userns_clone is 0: only root may create user namespaces",
			"sudo sysctl -w kernel.unprivileged_userns_clone=1, or run this as root"},
		{denied && f.apparmorRestrict > 0 && !f.root, "AppArmor takes the privileges away from user namespaces of ordinary users " +
			"(kernel.apparmor_restrict_unprivileged_userns is 1)",
			"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run this as root"},
		{denied && step.Step == "mount /proc" && len(f.maskedProc) > 0, "parts of /proc are hidden by mounts (" +
			strings.Join(f.maskedProc, ", ") + "), as Docker does; the kernel then allows no fresh /proc in a user namespace",
			"start the container with --security-opt systempaths=unconfined (podman: unmask=ALL), or --privileged"},
		{denied && f.container, "this is a container, whose seccomp filter or AppArmor profile forbids it", containerRemedy},
		{denied && f.seccomp == 2, "a seccomp filter is on this process and forbids it",
			"run it outside of the confinement; in a container: " + containerRemedy},
		{denied && f.root, "root lacks a capability here (CAP_SYS_ADMIN, CAP_NET_ADMIN), or a security module forbids it",
			"run it as an ordinary user, or in a container started with --privileged"},
		{denied, "a security module or a chroot forbids it", "run this as root; dmesg may name the module"},
		{step.Errno == syscall.EOPNOTSUPP, "this kernel has no such kind of network interface",
			"sudo modprobe bridge; sudo modprobe veth, or use a kernel with CONFIG_BRIDGE and CONFIG_VETH"},
	}
	for _, rule := range rules {
		if rule.match {
			return rule.reason, rule.remedy
		}
	}
	return "not known to this program", "run this as root, or on a machine or in a container with fewer restrictions"
}
