package child

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStopOfAStubbornProcess wants the error and the process gone.
func TestStopOfAStubbornProcess(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	script(t, filepath.Join(tmp, "stubborn"), "trap '' TERM; echo ready; while :; do sleep 0.1; done")
	p, err := Start(filepath.Join(tmp, "stubborn"), filepath.Join(tmp, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for p.Tail() != "ready" {
		time.Sleep(10 * time.Millisecond)
	}
	if err := p.Stop(300 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "stubborn did not end within 300ms") {
		t.Errorf("stop: got %v", err)
	}
	if err := syscall.Kill(p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the process is left (%v)", err)
	}
	if err := p.Stop(time.Second); err != nil {
		t.Errorf("stop of an ended process: %v", err)
	}
}

// TestExit wants to hear of an end that nobody asked for.
func TestExit(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	script(t, filepath.Join(tmp, "short"), "echo to stdout; echo to stderr >&2; exit 7")
	p, err := Start(filepath.Join(tmp, "short"), filepath.Join(tmp, "log"))
	if err != nil {
		t.Fatal(err)
	}
	<-p.Exited()
	if exit := (*exec.ExitError)(nil); !errors.As(p.Err(), &exit) || exit.ExitCode() != 7 {
		t.Errorf("got %v, want exit code 7", p.Err())
	}
	if got, want := p.Tail(), "to stdout\nto stderr"; got != want {
		t.Errorf("log: got %q, want %q", got, want)
	}
	p.Kill()
	if _, err := Start(filepath.Join(tmp, "absent"), filepath.Join(tmp, "log")); err == nil || !strings.Contains(err.Error(), "start absent") {
		t.Errorf("start of nothing: got %v", err)
	}
}

// script writes a program of the shell.
func script(t *testing.T, path, commands string) {
	t.Helper()
	// A child that another test forks meanwhile would hold the file open for writing, and a program that is
	// being written cannot be run (ETXTBSY).
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+commands+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestLoopback wants addresses that differ and that both protocols can be served at.
func TestLoopback(t *testing.T) {
	loopback, seen := netip.MustParsePrefix("127.0.0.0/8"), make(map[netip.AddrPort]bool)
	for range 50 {
		addr, err := Loopback()
		if err != nil {
			t.Fatal(err)
		}
		if seen[addr] || !loopback.Contains(addr.Addr()) || addr.Port() < 10_000 || addr.Port() >= 30_000 {
			t.Errorf("got %s (seen: %v)", addr, seen[addr])
		}
		seen[addr] = true
		if err := try(addr); err != nil {
			t.Error(err)
		}
	}
}
