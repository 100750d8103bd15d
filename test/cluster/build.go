package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// buildCommand is what a person types to fill the cache.
const buildCommand = "go -C test/cluster run . build"

// where prints the directory of the programs if all of a group and of those before it are there.
func where(_ context.Context, e *env, args []string) error {
	upTo, err := groupArgument(args)
	if err != nil {
		return err
	}
	dir, err := built(e, upTo)
	if err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, dir)
	return nil
}

// build compiles the programs of a group, and of those before it, that are missing, and prints their
// directory.
func build(ctx context.Context, e *env, args []string) error {
	upTo, err := groupArgument(args)
	if err != nil {
		return err
	}
	want, err := programs(upTo)
	if err != nil {
		return err
	}
	dir := directory(e.cache)
	if err := install(ctx, e, dir, want); err != nil {
		return err
	}
	fmt.Fprintln(e.stdout, dir)
	return nil
}

// groupArgument returns the group that a command line names, the first one if it names none.
func groupArgument(args []string) (string, error) {
	switch len(args) {
	case 0:
		return groups()[0].name, nil
	case 1:
		return args[0], nil
	}
	return "", errUsage
}

// built returns the directory that holds the programs of a group and of those before it.
func built(e *env, upTo string) (string, error) {
	want, err := programs(upTo)
	if err != nil {
		return "", err
	}
	dir := directory(e.cache)
	if absent := missing(dir, want); len(absent) > 0 {
		command := buildCommand
		if upTo != groups()[0].name {
			command += " " + upTo
		}
		return "", fmt.Errorf("no %s in %s: run %s", absent[0].name, dir, command)
	}
	return dir, nil
}

// install makes dir hold every program. It may run in several processes at once: the first one compiles,
// the others wait for it and find the work done.
func install(ctx context.Context, e *env, dir string, want []program) error {
	if len(missing(dir, want)) == 0 {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the cache directory: %w", err)
	}
	unlock, err := lock(ctx, e, filepath.Join(dir, ".lock"))
	if err != nil {
		return err
	}
	defer unlock()
	if err := sweep(dir); err != nil {
		return err
	}
	todo := missing(dir, want)
	if len(todo) > 0 {
		fmt.Fprintf(e.stderr, "%d of %d programs to compile into %s\nthe first time this takes 5 to 15 minutes on 2 cores and 3 to 4 GB of Go's build cache\n",
			len(todo), len(want), dir)
	}
	for i, p := range todo {
		if err := compile(ctx, e, dir, p, fmt.Sprintf("[%d/%d] %-23s", i+1, len(todo), p.name)); err != nil {
			return err
		}
	}
	return nil
}

// missing returns the programs that dir does not hold. A file under its final name is complete: compile
// renames it there as its last step.
func missing(dir string, want []program) []program {
	var absent []program
	for _, p := range want {
		if info, err := os.Stat(filepath.Join(dir, p.name)); err != nil || !info.Mode().IsRegular() {
			absent = append(absent, p)
		}
	}
	return absent
}

// temporary marks binaries that are still being written.
const temporary = ".partial"

// sweep removes what killed builds left in dir; the caller holds the lock.
func sweep(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, "*"+temporary))
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove the rest of a killed build: %w", err)
		}
	}
	return nil
}

// lock takes the exclusive lock of a file, waiting for another build to finish. The kernel drops the lock
// with the process, however that ends.
func lock(ctx context.Context, e *env, name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the cache directory: %w", err)
	}
	for told := false; ; told = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if !told {
			fmt.Fprintln(e.stderr, "another build is running, waiting for it")
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another build that holds %s: %w", name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// compile builds one program, tries it, and renames it into place.
func compile(ctx context.Context, e *env, dir string, p program, label string) error {
	partial := filepath.Join(dir, p.name+temporary)
	defer os.Remove(partial)
	show := newProgress(e.stderr, label)
	err := goCommand(ctx, show, p, partial)
	show.finish(err == nil)
	if ctx.Err() != nil {
		return fmt.Errorf("compile %s: %w", p.name, ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("compile %s (%s): %w\n%s", p.name, p.pkg, err, show.tail())
	}
	if err := try(ctx, partial, p); err != nil {
		return err
	}
	return os.Rename(partial, filepath.Join(dir, p.name))
}

// goCommand has the go command write one program to a file and its messages to show.
func goCommand(ctx context.Context, show *progress, p program, file string) error {
	// -v names each package when its compilation ends: that is the progress. `go test` has no such flag,
	// hence it finds everything compiled and only links. It would vet all packages, those of others too.
	steps := [][]string{{"build", "-v", "-o", file}}
	if p.test {
		steps = [][]string{{"build", "-v", "-o", os.DevNull}, {"test", "-c", "-vet=off", "-o", file}}
	}
	for _, args := range steps {
		cmd := exec.CommandContext(ctx, "go", append(append(args, buildFlags()...), p.pkg)...)
		cmd.Env = append(os.Environ(), buildEnv()...)
		own(cmd)
		cmd.Stdout, cmd.Stderr = show, show
		if err := cmd.Run(); err != nil {
			return err
		}
	}
	return nil
}

// own puts a child and its own children into a process group that ends as a whole: when the context ends
// and, for the child itself, when this process dies.
func own(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
}

// try runs a new binary once and compares what it says about itself.
func try(ctx context.Context, binary string, p program) error {
	if p.version == "" {
		return nil
	}
	out, err := exec.CommandContext(ctx, binary, p.versionArgs...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("run the new %s %s: %w\n%s", p.name, strings.Join(p.versionArgs, " "), err, out)
	}
	if !strings.Contains(string(out), p.version) {
		return fmt.Errorf("run the new %s %s: want %q in its output, got %q", p.name, strings.Join(p.versionArgs, " "), p.version, out)
	}
	return nil
}
