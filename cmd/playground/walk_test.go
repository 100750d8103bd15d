//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

const nobody = 65534

// A play is a folder from which playgrounds can be run by any user: the test binary, a real coredns and forwarder, and the parts of a
// clone that are read.
type play struct {
	dir, binary, coredns, forwarder string
}

// clone makes it, once for all tests; building coredns is most of the time.
var clone = sync.OnceValues(func() (*play, error) {
	dir, err := os.MkdirTemp("", "playground-test-*") // not t.TempDir: other users may not enter that
	if err != nil {
		return nil, err
	}
	cloneDir = dir
	p := &play{dir: dir, binary: filepath.Join(dir, "playground"), coredns: filepath.Join(dir, "coredns"), forwarder: filepath.Join(dir, "forwarder")}
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	if err := build(context.Background(), root, dir, []string{"./cmd/coredns", "./cmd/forwarder"}); err != nil {
		return nil, err
	}
	for _, name := range []string{"examples", "coredns"} {
		if err := os.CopyFS(filepath.Join(dir, "manifests", name), os.DirFS(filepath.Join(root, "manifests", name))); err != nil {
			return nil, err
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	return p, errors.Join(
		os.WriteFile(p.binary, self, 0o755),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module "+modulePath+"\n"), 0o644),
		os.Chmod(dir, 0o755),
		os.Mkdir(filepath.Join(dir, "tmp"), 0o755), os.Chmod(filepath.Join(dir, "tmp"), 0o777),
	)
})

// newPlay returns the clone, or skips the test where it cannot be used.
func newPlay(t *testing.T) *play {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: this builds coredns and runs a whole playground")
	}
	if err := (&netlab.Sandbox{}).Probe(t.Context()); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("with CI=true nothing is skipped: %v", err)
		}
		t.Skip(err)
	}
	p, err := clone()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// command is a playground with a forwarder. Its standard input is not a terminal.
func (p *play) command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), p.binary, append([]string{"-forwarder", p.forwarder}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), playEnv+"=playground", markerEnv+"="+t.Name(), "TMPDIR="+filepath.Join(p.dir, "tmp"))
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// run runs a playground and returns what it printed and its exit code.
func (p *play) run(t *testing.T, cmd *exec.Cmd) (stdout, stderr string, code int) {
	t.Helper()
	before := machineState(t)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	p.expectNothingLeft(t, before)
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestWalk(t *testing.T) {
	p := newPlay(t)
	users := []struct {
		name string
		attr *syscall.SysProcAttr
	}{{"as I am", nil}}
	if os.Geteuid() == 0 {
		users = append(users, struct {
			name string
			attr *syscall.SysProcAttr
		}{"as an ordinary user", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}})
	}
	for _, user := range users {
		t.Run(user.name, func(t *testing.T) {
			cmd := p.command(t, "-coredns", p.coredns)
			cmd.SysProcAttr = user.attr
			out, errs, code := p.run(t, cmd)
			if strings.Contains(errs, "private namespaces: ") && user.attr != nil && os.Getenv("CI") != "true" {
				t.Skip(errs)
			}
			if code != 0 || !strings.Contains(out, "steps held.") || strings.Contains(out, "FAIL") || errs != "" {
				t.Fatalf("exit code %d\n%s\n%s", code, out, errs)
			}
			if strings.Contains(out, "\x1b") {
				t.Error("there are colours in what is no terminal")
			}
			checkStory(t, out)
		})
	}
}

// checkStory looks for what the walk must have shown, in words that do not come from its own table.
func checkStory(t *testing.T, out string) {
	t.Helper()
	for _, want := range []string{
		`lookup web A  →  10\.96\.0\.80 `,
		`lookup web\.default A  →  10\.96\.0\.80 `,
		`lookup web\.default\.svc\.cluster\.local A  →  10\.96\.0\.80\n`,
		`SRV  →  0 100 80 web\.default\.svc\.cluster\.local\.\n`,
		`80\.0\.96\.10\.in-addr\.arpa\. PTR  →  web\.default\.svc\.cluster\.local\.\n`,
		`lookup web-headless A  →  10\.244\.\d\.\d+, 10\.244\.\d\.\d+, 10\.244\.\d\.\d+ `,
		`lookup web-headless A  →  (10\.244\.\d\.\d+, ){5}10\.244\.\d\.\d+ .* after `,
		`lookup web-headless A  →  10\.244\.\d\.\d+ .* after `,
		`fetch http://web-headless:8080/  →  web-[0-9a-z]+-[0-9a-z]{5} `,
		`lookup store-1\.store A  →  10\.244\.\d\.\d+ `,
		`lookup nobody A  →  NXDOMAIN\n`,
		`lookup web MX  →  NODATA `,
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("nothing matches %s in\n%s", want, out)
		}
	}
}

// TestWalkBuildsCoreDNS is the way of a person: no flags, from the clone itself.
func TestWalkBuildsCoreDNS(t *testing.T) {
	p := newPlay(t)
	cmd := p.command(t)
	var err error
	if cmd.Dir, err = moduleRoot(); err != nil {
		t.Fatal(err)
	}
	out, errs, code := p.run(t, cmd)
	if code != 0 || !strings.Contains(out, "built in ") || !strings.Contains(out, "steps held.") {
		t.Errorf("exit code %d\n%s\n%s", code, out, errs)
	}
}

func TestCommand(t *testing.T) {
	p := newPlay(t)
	for _, tt := range []struct {
		name    string
		command []string
		code    int
		out     string // a regular expression for all of standard output
		errs    string // a part of standard error
	}{
		{"exit code", []string{"sh", "-c", "exit 9"}, 9, `^$`, ""},
		{"killed", []string{"sh", "-c", "kill -TERM $$"}, 143, `^$`, ""},
		{"identity", []string{"sh", "-c", "cat /proc/sys/kernel/hostname; cat /etc/resolv.conf"}, 0,
			`^client\nsearch default\.svc\.cluster\.local svc\.cluster\.local cluster\.local\nnameserver 10\.96\.0\.10\noptions ndots:5\n$`, ""},
		{"our own resolver", []string{"lookup", "web"}, 0,
			`^web\.default\.svc\.cluster\.local\. A 10\.96\.0\.80\nweb\.default\.svc\.cluster\.local\. AAAA (fd00:10:96::100|NODATA)\n$`, ""},
		{"our own resolver, no such name", []string{"lookup", "nobody", "A"}, 1, `^nobody\. A NXDOMAIN\n$`, ""},
		{"our own browser", []string{"fetch", "http://store-0.store:8080"}, 0, `^server: store-0\nclient: 10\.244\.2\.\d+:\d+\n$`, ""},
		{"the C library", []string{"getent", "ahostsv4", "web"}, 0, `^10\.96\.0\.80 +STREAM web`, ""},
		{"nslookup of BIND", []string{"nslookup", "web.default.svc.cluster.local"}, 0, `Address: 10\.96\.0\.80\n`, ""},
		{"nslookup of busybox", []string{"busybox", "nslookup", "web.default.svc.cluster.local"}, 0, `Address[ 0-9]*: 10\.96\.0\.80\n`, ""},
		{"dig with the search list", []string{"dig", "+search", "+short", "web"}, 0, `^10\.96\.0\.80\n$`, ""},
		{"not there", []string{"no-such-command"}, 127, `^$`, "no-such-command: exec: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.command[0]); err != nil && !slices.Contains([]string{"lookup", "fetch", "no-such-command"}, tt.command[0]) {
				if os.Getenv("CI") == "true" && tt.command[0] != "getent" {
					t.Fatalf("with CI=true nothing is skipped: %v", err)
				}
				t.Skip(err)
			}
			out, errs, code := p.run(t, p.command(t, append([]string{"-coredns", p.coredns, "--"}, tt.command...)...))
			if code != tt.code || !regexp.MustCompile(tt.out).MatchString(out) || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit code %d, want %d; output %q, want %s; errors %q, want %q", code, tt.code, out, tt.out, errs, tt.errs)
			}
		})
	}
}

// machineState is what a playground must leave as it is.
func machineState(t *testing.T) []string {
	t.Helper()
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var state []string
	for _, link := range links {
		state = append(state, fmt.Sprintf("link %d %s", link.Index, link.Name))
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	state = append(state, string(mounts))
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	return append(state, hostname, string(resolver))
}

// expectNothingLeft waits until no process of this test's playground is left, and compares the machine with before.
func (p *play) expectNothingLeft(t *testing.T, before []string) {
	t.Helper()
	var left []string
	for range 200 {
		if left = marked(t); len(left) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(left) > 0 {
		t.Errorf("still there: %s", left)
	}
	scratch, err := filepath.Glob(filepath.Join(p.dir, "tmp", "signpost-*"))
	if err != nil || len(scratch) > 0 {
		t.Errorf("folders left: %s, error %v", scratch, err)
	}
	if now := machineState(t); !slices.Equal(now, before) {
		t.Errorf("the machine has changed:\nbefore %s\nnow    %s", before, now)
	}
}

// marked lists the processes that inherited this test's marker.
func marked(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil && bytes.Contains(append(text, 0), []byte(markerEnv+"="+t.Name()+"\x00")) {
			comm, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
			list = append(list, filepath.Base(filepath.Dir(file))+" "+strings.TrimSpace(string(comm)))
		}
	}
	return list
}
