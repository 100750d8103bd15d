//go:build linux

package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helper is a sandbox, inside the one of this test, that runs a helper program.
func helper(name string, out *bytes.Buffer) *Sandbox {
	return &Sandbox{Env: append(os.Environ(), helperEnv+"="+name), Stdout: out, Stderr: out}
}

func mustKillSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func buildAndLeave() error {
	lab, err := Build(Config{Nodes: 2})
	if err != nil {
		return err
	}
	pod, err := lab.Node(1).AddPod("pod")
	if err != nil {
		return err
	}
	_, err = pod.Start(exec.Command("sleep", "1000"))
	return err
}

func buildAndWait() error {
	if err := buildAndLeave(); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

func runAndWait() error {
	box := Sandbox{
		Env:    append(os.Environ(), helperEnv+"=build a lab and wait"),
		Stdout: os.Stdout, Stderr: os.Stderr, Scratch: os.Getenv("SCRATCH"),
	}
	_, err := box.Run(context.Background())
	return err
}

func TestSandboxExitCode(t *testing.T) {
	Need(t)
	for _, tt := range []struct {
		helper string
		code   int
		output string
	}{
		{"exit 7", 7, ""},
		{"kill self", 137, ""},
		{"who am I", 0, "inside true uid 0\n"},
		{"environment", 0, "true\n"},
		{"build a lab and leave it", 0, ""},
	} {
		for _, noUserNS := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,NoUserNamespace=%v", tt.helper, noUserNS), func(t *testing.T) {
				var out bytes.Buffer
				box := helper(tt.helper, &out)
				box.Env = append(box.Env, "LEFT=alone")
				box.NoUserNamespace = noUserNS
				code, err := box.Run(t.Context())
				if code != tt.code || err != nil {
					t.Errorf("got code %d, error %v, want %d\n%s", code, err, tt.code, &out)
				}
				if got := out.String(); got != tt.output {
					t.Errorf("got output %q, want %q", got, tt.output)
				}
			})
		}
	}
}

func TestProbe(t *testing.T) {
	Need(t)
	box := Sandbox{}
	if err := box.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestInitForgotten(t *testing.T) {
	initCalled = false
	defer func() { initCalled = true }()
	if code, err := (&Sandbox{}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "netlab.Init") {
		t.Errorf("got code %d, error %v, want an error that names netlab.Init", code, err)
	}
}

func TestSandboxEndsWithContext(t *testing.T) {
	Need(t)
	before := machineState(t)
	gone := errors.New("the reason given")
	ctx, cancel := context.WithCancelCause(t.Context())
	var out syncBuffer
	box := helper("build a lab and wait", nil)
	box.Stdout, box.Stderr = &out, &out
	go func() {
		out.waitFor("ready")
		cancel(gone)
	}()
	if _, err := box.Run(ctx); !errors.Is(err, gone) {
		t.Errorf("got error %v, want the context's cause", err)
	}
	expectState(t, before)
}

// TestMachineUntouched takes the sandbox of this test for the machine: what a sandbox inside it does must not show.
func TestMachineUntouched(t *testing.T) {
	Need(t)
	before := machineState(t)
	var out bytes.Buffer
	code, err := helper("build a lab and leave it", &out).Run(t.Context())
	if code != 0 || err != nil {
		t.Fatalf("code %d, error %v\n%s", code, err, &out)
	}
	expectState(t, before)
}

// TestKill9 kills the process that started a sandbox: nothing of it may stay.
func TestKill9(t *testing.T) {
	Need(t)
	before := machineState(t)
	scratch := filepath.Join(t.TempDir(), "scratch")
	if err := os.MkdirAll(filepath.Join(scratch, "some", "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out syncBuffer
	starter := exec.Command(os.Args[0])
	starter.Env = append(os.Environ(), helperEnv+"=run a sandbox and wait", "SCRATCH="+scratch)
	starter.Stdout, starter.Stderr = &out, &out
	starter.WaitDelay = time.Minute
	if err := starter.Start(); err != nil {
		t.Fatal(err)
	}
	out.waitFor("ready")
	if during := machineState(t); slices.Equal(during, before) {
		t.Fatal("the sandbox does not show in the list of processes: this test would not notice a leak")
	}
	if err := starter.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	starter.Wait()
	expectState(t, before)
	if exists(scratch) {
		t.Errorf("%s is still there", scratch)
	}
}

// machineState lists what a sandbox could leave behind: links, mounts, network namespaces, and processes that are not
// this one's own threads.
func machineState(t *testing.T) []string {
	t.Helper()
	var state []string
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		state = append(state, fmt.Sprintf("link %d %s %s", link.Index, link.Name, link.Flags))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		state = append(state, "mount "+line)
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err != nil {
			continue
		}
		comm, _ := os.ReadFile("/proc/" + p.Name() + "/comm")
		net, _ := os.Readlink("/proc/" + p.Name() + "/ns/net")
		state = append(state, fmt.Sprintf("process %s %s %s", p.Name(), comm, net))
	}
	for _, key := range []string{"net/ipv4/ip_forward", "kernel/hostname"} {
		value, _ := os.ReadFile("/proc/sys/" + key)
		state = append(state, key+" "+string(value))
	}
	slices.Sort(state)
	return state
}

// expectState waits until the state is as before: the kernel takes a moment to bury a pid namespace.
func expectState(t *testing.T, before []string) {
	t.Helper()
	var now []string
	for range 200 {
		if now = machineState(t); slices.Equal(now, before) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("the machine has changed:\nbefore %s\nnow    %s", before, now)
}

// TestUnprivileged runs this package's tests again as an ordinary user.
func TestUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 || ownUserNamespace() {
		t.Skip("only root can become an ordinary user; an ordinary user's own run is the test")
	}
	dir, err := os.MkdirTemp("", "netlab-unprivileged-*") // not t.TempDir: others may not enter that
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	binary, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "netlab.test")
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(copied, binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	if out, err := asNobody(t, copied, helperEnv+"=probe").CombinedOutput(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("with CI=true nothing is skipped: %s", out)
		}
		t.Skipf("this machine lets ordinary users have no sandbox: %s", out)
	}
	out, err := asNobody(t, copied, "").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestReach") {
		t.Fatalf("as an ordinary user: %v\n%s", err, out)
	}
}

// asNobody runs a test binary as an ordinary user.
func asNobody(t *testing.T, binary, env string) *exec.Cmd {
	const nobody = 65534
	cmd := exec.CommandContext(t.Context(), binary, "-test.v", "-test.timeout=5m")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	return cmd
}
