//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// waitFor returns when a playground has written a text, and fails the test after a minute.
func waitFor(t *testing.T, out *output, text string) {
	t.Helper()
	for range 6000 {
		if strings.Contains(out.tail(1000), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%q did not come within a minute:\n%s", text, out.tail(1000))
}

// TestSignals ends a playground from outside: whatever the way, nothing of it may stay.
func TestSignals(t *testing.T) {
	p := newPlay(t)
	for _, tt := range []struct {
		signal syscall.Signal
		code   int // -1: killed
		says   string
	}{
		{unix.SIGINT, 130, "playground: stopped: interrupt"},
		{unix.SIGTERM, 130, "playground: stopped: terminated"},
		{unix.SIGHUP, 130, "playground: stopped: hangup"},
		{unix.SIGKILL, -1, ""},
	} {
		t.Run(tt.signal.String(), func(t *testing.T) {
			before := machineState(t)
			var out output
			cmd := p.command(t, "-coredns", p.coredns, "--", "sh", "-c", "echo started; sleep 1000")
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, &out, "started")
			if len(marked(t)) < 5 { // the starter, init, the program, coredns, the pods, sh, sleep
				t.Fatalf("only these processes are seen: %s", marked(t))
			}
			if err := cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			p.expectNothingLeft(t, before)
			if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(out.tail(1000), tt.says) {
				t.Errorf("exit code %d, want %d; output %q, want %q", code, tt.code, out.tail(1000), tt.says)
			}
		})
	}
}

// TestStopWhileBuilding puts a go command on PATH that takes long, with a child.
func TestStopWhileBuilding(t *testing.T) {
	p := newPlay(t)
	before := machineState(t)
	tools := t.TempDir()
	if err := os.WriteFile(filepath.Join(tools, "go"), []byte("#!/bin/sh\nsleep 1000\necho never\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	var out output
	cmd := p.command(t)
	cmd.Env = append(cmd.Env, "PATH="+tools+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, &out, "go build ./cmd/coredns")
	for len(marked(t)) < 3 { // the playground, go, sleep
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	p.expectNothingLeft(t, before)
	if code := cmd.ProcessState.ExitCode(); code != exitStopped {
		t.Errorf("exit code %d, want %d\n%s", code, exitStopped, out.tail(10))
	}
}

// TestKillGoRun kills the go command with its child left alive, which is not told about it.
func TestKillGoRun(t *testing.T) {
	p := newPlay(t)
	before := machineState(t)
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	var out output
	cmd := p.command(t)
	cmd.Path, err = exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Args = []string{"go", "run", "./cmd/playground", "-coredns", p.coredns, "-forwarder", p.forwarder, "--", "sh", "-c", "echo started; sleep 1000"}
	cmd.Dir = root
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, &out, "started")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	p.expectNothingLeft(t, before)
}

// TestTerminal sits at a terminal: the walk has colours, and then there is a shell in the client.
func TestTerminal(t *testing.T) {
	p := newPlay(t)
	before := machineState(t)
	master, slave := openTerminal(t)
	cmd := p.command(t, "-coredns", p.coredns)
	cmd.Env = append(cmd.Env, "TERM=dumb")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var out output
	copied := make(chan struct{})
	go func() {
		io.Copy(&out, master) // ends with an error when the last process has closed the other side
		close(copied)
	}()
	waitFor(t, &out, "Try:")
	waitFor(t, &out, "steps held.")
	for _, line := range []struct{ typed, want string }{
		{"echo $((6*7)) in $(cat /proc/sys/kernel/hostname)\n", "42 in client"},
		{"lookup web A\n", "web.default.svc.cluster.local. A 10.96.0.80"},
		{"sleep 1000\n", ""},
		{"\x03", ""}, // Ctrl-C is for sleep alone
		{"echo still $((6*7))\n", "still 42"},
	} {
		if line.typed == "\x03" {
			time.Sleep(300 * time.Millisecond) // typed while sleep runs, as far as one can see from outside
		}
		if _, err := io.WriteString(master, line.typed); err != nil {
			t.Fatal(err)
		}
		waitFor(t, &out, line.want)
	}
	io.WriteString(master, "exit\n")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, out.tail(1000))
	}
	<-copied
	if !strings.Contains(out.tail(1000), "\x1b[32mok") {
		t.Error("there are no colours on a terminal")
	}
	p.expectNothingLeft(t, before)
}

// openTerminal makes a pair of a pseudo terminal (pty(7)).
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
