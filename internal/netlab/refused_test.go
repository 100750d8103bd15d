//go:build linux

package netlab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestRefusals(t *testing.T) {
	Need(t)
	for _, tt := range []struct {
		name    string
		prepare func(t *testing.T) error // on a thread of its own, in a mount namespace of its own
		want    *Refused
	}{
		{
			name: "no user namespaces",
			prepare: func(t *testing.T) error {
				old, err := os.ReadFile("/proc/sys/user/max_user_namespaces")
				if err != nil {
					return err
				}
				t.Cleanup(func() { os.WriteFile("/proc/sys/user/max_user_namespaces", old, 0) })
				return os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0)
			},
			want: &Refused{Step: "create namespaces", Remedy: "sudo sysctl -w user.max_user_namespaces=10000"},
		},
		{
			name:    "masked /proc",
			prepare: func(t *testing.T) error { return unix.Mount("/dev/null", "/proc/uptime", "", unix.MS_BIND, "") },
			want:    &Refused{Step: "mount /proc", Remedy: "start the container with --security-opt systempaths=unconfined (podman: unmask=ALL), or --privileged"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "no user namespaces" && !ownUserNamespace() {
				t.Skip("the limit is the machine's own when root runs without a user namespace; the unprivileged run covers it")
			}
			err := onThread(func() error {
				if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
					return err
				}
				if err := tt.prepare(t); err != nil {
					return err
				}
				var out bytes.Buffer
				box := helper("exit 7", &out)
				_, err := box.attempt(t.Context(), true, false)
				return err
			})
			refused, ok := errors.AsType[*Refused](err)
			if !ok {
				t.Fatalf("got error %v, want a refusal", err)
			}
			if refused.Step != tt.want.Step || refused.Remedy != tt.want.Remedy {
				t.Errorf("got %v, want step %q, remedy %q", refused, tt.want.Step, tt.want.Remedy)
			}
		})
	}
}

// ownUserNamespace reports whether this process is in a user namespace other than the machine's first.
func ownUserNamespace() bool {
	id, err := os.Readlink("/proc/self/ns/user")
	return err == nil && id != "user:[4026531837]" // PROC_USER_INIT_INO
}

// TestRefusedBySeccomp runs under a filter like Docker's.
func TestRefusedBySeccomp(t *testing.T) {
	Need(t)
	var out bytes.Buffer
	code, err := helper("confined", &out).Run(t.Context())
	if text := out.String(); err != nil || code != 1 || !strings.Contains(text, "create namespaces: ") ||
		!strings.Contains(text, "operation not permitted") || !strings.Contains(text, "seccomp") {
		t.Errorf("code %d, error %v, output %q; want a refusal that names seccomp", code, err, text)
	}
}

// probeConfined forbids itself to make namespaces, by a seccomp filter (seccomp(2)), and then tries.
func probeConfined() error {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		anyBit = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret    = unix.BPF_RET | unix.BPF_K

		number, firstArgument = 0, 16 // offsets in struct seccomp_data
	)
	filter := []unix.SockFilter{
		{Code: load, K: number},
		{Code: equal, K: unix.SYS_UNSHARE, Jt: 3},
		{Code: equal, K: unix.SYS_CLONE, Jf: 3},
		{Code: load, K: firstArgument},
		{Code: anyBit, K: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return (&Sandbox{}).Probe(context.Background())
}
