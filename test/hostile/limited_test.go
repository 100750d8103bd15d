package hostile

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stockBuffer is the most bytes of a netlink message where a process may not enlarge its buffers at will: the kernel grants
// twice net.core.wmem_max, which is 212,992 unless someone changed it, less what it needs itself.
const stockBuffer = 2*212_992 - 32

// beLimited makes the test binary the program that it names, with its arguments, as on a machine with stockBuffer: a longer
// message is refused there with EMSGSIZE, whatever this machine takes.
const beLimited = "HOSTILE_TEST_LIMITED"

// limited is a command for Host.Start that runs a program so.
func limited(t testing.TB, program string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), beLimited+"="+program)
	return cmd
}

// runLimited does not return.
func runLimited() {
	runtime.LockOSThread()
	program := os.Getenv(beLimited)
	err := os.Unsetenv(beLimited)
	if err == nil {
		err = refuseLongMessages()
	}
	if err == nil && program == trial {
		err = try()
	} else if err == nil {
		err = unix.Exec(program, append([]string{program}, os.Args[1:]...), os.Environ())
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "run %s with short messages: %v\n", program, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// refuseLongMessages has the kernel refuse sendto(2) with more than stockBuffer bytes from now on, and in what this process
// becomes. The forwarder sends to netlink in no other way.
func refuseLongMessages() error {
	const number, third = 0, 16 + 2*8 // struct seccomp_data: the call, and the low half of its third argument
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	filter := []unix.SockFilter{
		load(number),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SENDTO, Jf: 3},
		load(third),
		{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, K: stockBuffer, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EMSGSIZE)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return fmt.Errorf("set a seccomp filter: %w", errno)
	}
	return nil
}

// trial is no program: it tries the limit.
const trial = "trial"

func try() error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	for _, size := range []int{1, stockBuffer, stockBuffer + 1} {
		err := unix.Sendto(pair[0], make([]byte, size), unix.MSG_DONTWAIT, nil)
		fmt.Println(size, err == syscall.EMSGSIZE)
	}
	return nil
}

func TestLimited(t *testing.T) {
	out, err := limited(t, trial).CombinedOutput()
	if want := "1 false\n425952 false\n425953 true\n"; err != nil || strings.TrimSpace(string(out)) != strings.TrimSpace(want) {
		t.Errorf("got %s, %v, want %s", out, err, want)
	}
}
