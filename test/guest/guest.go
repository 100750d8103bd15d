package guest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// exitMark is what init prints before the exit code.
const exitMark = "@@ guest exit "

// emulator is the program that a guest runs in.
const emulator = "qemu-system-x86_64"

// A Test is a package's test binary, to be run in a guest.
type Test struct {
	Package  string            // import path or folder, as go test takes it
	Args     []string          // of the test binary: -test.run=…
	Modules  []string          // of the kernel; what they depend on is found
	OnDemand []string          // more of them, which the kernel has loaded when it needs them
	Programs []string          // of this machine, that the tests call
	Builds   map[string]string // programs of Go to compile, by package, under the path that they have in the guest
	Trees    map[string]string // folders and files of this machine by the path that they have in the guest
	MiB      int               // memory; 0 is 768
}

// Run boots the kernel with the test binary in it and copies the console to out. It
// returns the binary's exit code; an error if the guest did not get that far.
func (k *Kernel) Run(ctx context.Context, t Test, out io.Writer) (int, error) {
	dir, err := os.MkdirTemp("", "guest-*")
	if err != nil {
		return 0, fmt.Errorf("run a guest: %w", err)
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := k.pack(ctx, t, dir, initrd); err != nil {
		return 0, err
	}
	mib := t.MiB
	if mib == 0 {
		mib = 768
	}
	cmd := exec.CommandContext(ctx, emulator,
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", strconv.Itoa(mib), "-nodefaults", "-no-user-config",
		"-nographic", "-no-reboot", "-serial", "stdio", "-kernel", k.Image, "-initrd", initrd,
		"-append", "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on")
	cmd.WaitDelay = 5 * time.Second
	console, err := cmd.StdoutPipe()
	if err != nil {
		return 0, fmt.Errorf("run a guest: %w", err)
	}
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("run a guest: %w (apt-get install qemu-system-x86)", err)
	}
	code, readErr := follow(console, out)
	if err := errors.Join(readErr, cmd.Wait(), context.Cause(ctx)); err != nil {
		return 0, fmt.Errorf("run a guest with kernel %s: %w", k.Version(), err)
	}
	if code < 0 {
		return 0, fmt.Errorf("run a guest with kernel %s: it ended without an exit code of the test", k.Version())
	}
	return code, nil
}

// follow copies the console, less what only terminals want, and finds the exit code; -1 if there is none.
func follow(console io.Reader, out io.Writer) (int, error) {
	code := -1
	lines := bufio.NewReader(console)
	for {
		line, err := lines.ReadString('\n')
		if text := strings.TrimRight(line, "\r\n"); text != "" {
			if number, ok := strings.CutPrefix(text, exitMark); ok {
				n, err := strconv.Atoi(number)
				if err != nil {
					return -1, fmt.Errorf("the guest printed %q: %w", text, err)
				}
				code = n
			} else if !strings.ContainsRune(text, '\x1b') { // the firmware's greeting
				fmt.Fprintln(out, text)
			}
		}
		if errors.Is(err, io.EOF) {
			return code, nil
		}
		if err != nil {
			return -1, fmt.Errorf("read the guest's console: %w", err)
		}
	}
}

// pack compiles the programs of the guest and writes its initramfs.
func (k *Kernel) pack(ctx context.Context, t Test, dir, initrd string) error {
	compiled := map[string]string{"/test/binary": filepath.Join(dir, "binary"), "/init": filepath.Join(dir, "init")}
	commands := [][]string{
		{"test", "-c", "-o", compiled["/test/binary"], t.Package},
		{"build", "-o", compiled["/init"], "github.com/signpost-dns/signpost/test/guest/init"},
	}
	for at, from := range t.Builds {
		compiled[at] = filepath.Join(dir, fmt.Sprint("program-", len(compiled)))
		commands = append(commands, []string{"build", "-o", compiled[at], from})
	}
	for _, args := range commands {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // no libraries to bring along
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	f, err := os.Create(initrd)
	if err != nil {
		return err
	}
	defer f.Close()
	a := newArchive(f)
	if err := k.fill(a, t, compiled); err != nil {
		return err
	}
	return errors.Join(a.close(), f.Close())
}

// fill puts into the archive what the guest needs; compiled are files by the path that they have there.
func (k *Kernel) fill(a *archive, t Test, compiled map[string]string) error {
	modules, err := k.closure(t.Modules)
	if err != nil {
		return err
	}
	var order []string
	steps := []func() error{
		func() error { return a.addText("/args", t.Args) },
		func() error { return a.addText("/etc/hosts", []string{"127.0.0.1 localhost"}) },
		func() error {
			return a.addText("/etc/protocols", []string{"icmp 1 ICMP", "tcp 6 TCP", "udp 17 UDP", "sctp 132 SCTP"})
		},
		func() error { return a.addText("/etc/passwd", []string{"root:x:0:0:root:/:/bin/sh"}) },
		func() error { return a.addText("/etc/resolv.conf", nil) },
	}
	for at, from := range compiled {
		steps = append(steps, func() error { return a.addFile(at, from) })
	}
	for _, m := range modules {
		order = append(order, filepath.Base(m))
		steps = append(steps, func() error { return a.addFile("/modules/"+filepath.Base(m), m) })
	}
	onDemand, files, err := k.onDemand(t.OnDemand)
	if err != nil {
		return err
	}
	for _, m := range files {
		steps = append(steps, func() error { return a.addFile("/modules/"+filepath.Base(m), m) })
	}
	steps = append(steps,
		func() error { return a.addText("/modules/order", order) },
		func() error { return a.addText("/modules/on-demand", onDemand) },
		func() error { return a.addFile("/sbin/modprobe", compiled["/init"]) })
	for _, p := range t.Programs {
		steps = append(steps, func() error { return a.addProgram(p) })
	}
	for at, from := range t.Trees {
		steps = append(steps, func() error { return a.addTree(at, from) })
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}
