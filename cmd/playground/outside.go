//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

const modulePath = "github.com/signpost-dns/signpost"

// runOutside is the part on the machine itself: find out whether namespaces are allowed, build coredns while there still
// is a network, then run the rest inside a sandbox.
func runOutside(ctx context.Context, o options, env environment) int {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	ctx, unwatch := netlab.WithGoTool(ctx)
	defer unwatch()
	code, err := outside(ctx, o, env)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(env.stderr, "playground: stopped:", context.Cause(ctx))
		return exitStopped
	case err != nil:
		fmt.Fprintln(env.stderr, "playground:", err)
		return exitFailed
	}
	return code
}

func outside(ctx context.Context, o options, env environment) (int, error) {
	screen := newScreen(env, len(o.command) > 0)
	screen.title()
	if err := (&netlab.Sandbox{}).Probe(ctx); err != nil {
		return 0, err
	}
	root, err := moduleRoot()
	if err != nil {
		return 0, err
	}
	scratch, err := os.MkdirTemp("", "signpost-playground-")
	if err != nil {
		return 0, fmt.Errorf("create a temporary folder: %w", err)
	}
	defer os.RemoveAll(scratch)
	programs, err := findPrograms(ctx, o, root, scratch, screen)
	if err != nil {
		return 0, err
	}
	defer keepTerminal(env.stdin)()
	box := netlab.Sandbox{
		Args:  append([]string{"inside", root, scratch, programs.coredns, programs.forwarder, "--"}, o.command...),
		Stdin: env.stdin, Stdout: env.stdout, Stderr: env.stderr,
		Scratch: scratch,
	}
	return box.Run(ctx)
}

// moduleRoot finds the clone that the current folder is in: its manifests are played, its cmd/coredns is built.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the current folder: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		switch {
		case err == nil && modfile.ModulePath(text) == modulePath:
			return dir, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return "", fmt.Errorf("look for the module %s: %w", modulePath, err)
		case dir == filepath.Dir(dir):
			return "", fmt.Errorf("no module %s in the current folder or above: run this in a clone of it", modulePath)
		}
	}
}

// programs are the paths of what is being shown.
type programs struct{ coredns, forwarder string }

// findPrograms takes the given binaries, and builds those that are not given into the scratch folder.
func findPrograms(ctx context.Context, o options, root, scratch string, screen *screen) (programs, error) {
	var missing []string
	find := func(flag, given string) (string, error) {
		if given == "" {
			missing = append(missing, "./cmd/"+flag)
			return filepath.Join(scratch, flag), nil
		}
		path, err := filepath.Abs(given)
		if err == nil {
			err = unix.Access(path, unix.X_OK)
		}
		if err != nil {
			return "", fmt.Errorf("-%s %s: expected a program: %w", flag, given, err)
		}
		return path, nil
	}
	var p programs
	var err error
	if p.coredns, err = find("coredns", o.coredns); err != nil {
		return p, err
	}
	if p.forwarder, err = find("forwarder", o.forwarder); err != nil || len(missing) == 0 {
		return p, err
	}
	screen.progress("go build %s: the first time this compiles all of CoreDNS and takes minutes, later seconds", strings.Join(missing, " "))
	began := time.Now()
	if err := build(ctx, root, scratch, missing); err != nil {
		return p, err
	}
	screen.progress("built in %.1f s", time.Since(began).Seconds())
	screen.line("")
	return p, nil
}

// build compiles commands of this module into a folder.
func build(ctx context.Context, root, folder string, commands []string) error {
	what := "build " + strings.Join(commands, " ")
	tool, err := exec.LookPath("go")
	if err != nil {
		return fmt.Errorf("%s: no go command: install Go and put it on PATH, or name ready binaries with -coredns FILE -forwarder FILE: %w", what, err)
	}
	// The compiler is to die with this program; the kernel takes the thread that started it for its parent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	args := append([]string{"build", "-ldflags=-s -w", "-o", folder + "/"}, commands...) // linked in half the time
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Dir = root
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL, Setpgid: true}
	// An interrupt lets go remove its own temporary files; its compilers are in the same process group.
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGINT) }
	cmd.WaitDelay = 5 * time.Second
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s with %s: %w\n%s", what, tool, err, strings.TrimSpace(string(text)))
	}
	return nil
}
