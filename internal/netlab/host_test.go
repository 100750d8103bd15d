//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestHostIdentity(t *testing.T) {
	lab := New(t, Config{Nodes: 1})
	pod, err := lab.Node(1).AddPod("web-1")
	if err != nil {
		t.Fatal(err)
	}
	machine, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	resolver := Resolver{Nameservers: []netip.Addr{pod.IPv4}, Search: []string{"a.example", "example"}, Options: []string{"ndots:5"}}
	if err := pod.SetResolver(resolver); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ file, want string }{
		{"/proc/sys/kernel/hostname", "web-1\n"},
		{"/etc/resolv.conf", "search a.example example\nnameserver 10.244.1.2\noptions ndots:5\n"},
		{"/etc/hosts", etcHosts("web-1", pod.IPv4, pod.IPv6)},
		{"/etc/hostname", "web-1\n"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			if tt.file == "/etc/hostname" && !exists(tt.file) {
				t.Skip("this machine has no /etc/hostname")
			}
			var out strings.Builder
			cmd := exec.Command("cat", tt.file) // a process of the host, not only its thread
			cmd.Stdout = &out
			if err := pod.Run(cmd); err != nil || out.String() != tt.want {
				t.Errorf("got %q, error %v, want %q", out.String(), err, tt.want)
			}
		})
	}
	t.Run("shorter text leaves nothing of the longer", func(t *testing.T) {
		if err := pod.SetResolver(Resolver{Search: []string{"x"}}); err != nil {
			t.Fatal(err)
		}
		pod.Do(func() error {
			got, err := os.ReadFile("/etc/resolv.conf")
			if err != nil || string(got) != "search x\n" {
				t.Errorf("got %q, error %v", got, err)
			}
			return nil
		})
	})
	if now, err := os.ReadFile("/etc/resolv.conf"); err != nil || string(now) != string(machine) {
		t.Errorf("the resolv.conf outside of the host changed to %q, error %v", now, err)
	}
}

// TestShadowEtc plays a machine whose /etc/resolv.conf is a dangling link and that has no /etc/hosts.
func TestShadowEtc(t *testing.T) {
	Need(t)
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return err
		}
		return errors.Join(
			unix.Mount("tmpfs", "/etc", "tmpfs", 0, ""),
			os.Symlink("/run/no/such/resolv.conf", "/etc/resolv.conf"),
			os.WriteFile("/etc/passwd", []byte("root"), 0o644),
			os.Symlink("../proc/version", "/etc/version"),
			os.WriteFile("/etc/nsswitch.conf", []byte("hosts: files resolve\n"), 0o644),
			ownEtc("box", "127.0.0.1 localhost\n"),
			os.WriteFile("/etc/resolv.conf", []byte("search x\n"), 0o644),
			expectFile("/etc/resolv.conf", "search x\n"),
			expectFile("/etc/hosts", "127.0.0.1 localhost\n"),
			expectFile("/etc/hostname", "box\n"),
			expectFile("/etc/passwd", "root"),
			expectFile("/etc/nsswitch.conf", "hosts: files dns\n"),
			expectFile("/etc/version", ""),
		)
	})
	if err != nil {
		t.Error(err)
	}
}

// expectFile compares a file's text; an empty want only asks that it can be read.
func expectFile(path, want string) error {
	got, err := os.ReadFile(path)
	if err == nil && want != "" && string(got) != want {
		err = fmt.Errorf("%s: got %q, want %q", path, got, want)
	}
	return err
}

func TestProcessesDieWithHost(t *testing.T) {
	lab := New(t, Config{Nodes: 1})
	pod, err := lab.Node(1).AddPod("pod")
	if err != nil {
		t.Fatal(err)
	}
	started, err := pod.Start(exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	if err := lab.Node(1).RemovePod(pod); err != nil {
		t.Fatal(err)
	}
	status, _ := errors.AsType[*exec.ExitError](started.Wait())
	if status == nil || status.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Errorf("got %v, want it killed", status)
	}
	if err := unix.Kill(started.Pid(), 0); err != unix.ESRCH {
		t.Errorf("process %d: got %v, want that there is no such process", started.Pid(), err)
	}
	if _, err := pod.Start(exec.Command("sleep", "1000")); !errors.Is(err, ErrClosed) {
		t.Errorf("start on a closed host: got %v, want ErrClosed", err)
	}
	if err := pod.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("work on a closed host: got %v, want ErrClosed", err)
	}
	if _, err := pod.Ask(t.Context(), "tcp", netip.AddrPortFrom(lab.Node(1).IPv4, 80)); !errors.Is(err, ErrClosed) {
		t.Errorf("connect from a closed host: got %v, want ErrClosed", err)
	}
	if err := lab.Node(1).RemovePod(pod); err == nil {
		t.Error("removing a pod twice: got no error")
	}
}

func TestStop(t *testing.T) {
	lab := New(t, Config{Nodes: 1})
	for _, tt := range []struct {
		name, script string
		signal       syscall.Signal // that ended it; 0: it ended by itself
	}{
		{"obeys", "trap 'exit 0' TERM; echo up; while :; do sleep 0.01; done", 0},
		{"does not care", "trap '' TERM; echo up; while :; do sleep 0.01; done", unix.SIGKILL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out syncBuffer
			cmd := exec.Command("sh", "-c", tt.script)
			cmd.Stdout = &out
			p, err := lab.Outside.Start(cmd)
			if err != nil {
				t.Fatal(err)
			}
			out.waitFor("up")
			p.Stop(t.Context(), 500*time.Millisecond)
			got := syscall.Signal(0)
			if status, ok := errors.AsType[*exec.ExitError](p.Wait()); ok {
				got = status.Sys().(syscall.WaitStatus).Signal()
			}
			if got != tt.signal {
				t.Errorf("ended by signal %d, want %d", got, tt.signal)
			}
		})
	}
}

// TestNothingLeaks builds and closes labs and counts descriptors, threads' namespaces and interfaces.
func TestNothingLeaks(t *testing.T) {
	Need(t)
	once := func() {
		lab, err := Build(Config{Nodes: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer lab.Close()
		pod, err := lab.Node(1).AddPod("pod")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pod.Echo(80); err != nil {
			t.Fatal(err)
		}
		if _, err := pod.Start(exec.Command("sleep", "1000")); err != nil {
			t.Fatal(err)
		}
	}
	once() // whatever is opened once and kept
	fds, spaces := openFiles(t), threadNetworks(t)
	for range 5 {
		once()
	}
	if now := openFiles(t); now > fds {
		t.Errorf("%d open files, %d before", now, fds)
	}
	for range 100 {
		if threadNetworks(t) <= spaces {
			return
		}
		time.Sleep(20 * time.Millisecond) // a thread ends shortly after its goroutine
	}
	t.Errorf("threads are in %d network namespaces, %d before", threadNetworks(t), spaces)
}

func openFiles(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

func threadNetworks(t *testing.T) int {
	t.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, thread := range threads {
		if ns, err := os.Readlink("/proc/self/task/" + thread.Name() + "/ns/net"); err == nil {
			seen[ns] = true
		}
	}
	return len(seen)
}

// A relay leads from a host into the network of the process, until it is closed.
func TestRelay(t *testing.T) {
	lab := New(t, Config{Nodes: 1, IPv4Only: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "you asked for "+r.URL.Path)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-ended })

	host := lab.Node(1).Host
	if code, text := host.Get(t.Context(), "http://"+l.Addr().String()+"/"); code != 0 {
		t.Errorf("without a relay: %d %s", code, text)
	}
	relay, err := host.Relay("127.0.0.1:0", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if code, text := host.Get(t.Context(), "http://"+relay.Addr+"/page"); code != http.StatusTeapot || text != "you asked for /page" {
		t.Errorf("by the relay: %d %q", code, text)
	}
	waiting, err := host.Dial(t.Context(), "tcp", netip.MustParseAddrPort(relay.Addr))
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	relay.Close()
	if n, err := waiting.Read(make([]byte, 1)); err == nil {
		t.Errorf("a connection of the relay that is closed: %d bytes", n)
	}
	if code, text := host.Get(t.Context(), "http://"+relay.Addr+"/page"); code != 0 || text == "" {
		t.Errorf("by the relay that is closed: %d %q, want the reason", code, text)
	}
}
