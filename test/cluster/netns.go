package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// netns is a network namespace without a name: it lives as long as this file is open or a process is in it,
// so nothing of it can be left behind.
type netns struct {
	name string
	file *os.File
}

// newNetns makes an empty namespace.
func newNetns(name string) (*netns, error) {
	n := &netns{name: name}
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make the network namespace of %s: %w", name, err)
	}
	return n, nil
}

// path leads to the namespace for every process in the supervisor's own namespaces, where the supervisor is
// process 1.
func (n *netns) path() string { return fmt.Sprintf("/proc/1/fd/%d", n.file.Fd()) }

func (n *netns) close() { n.file.Close() }

// do runs f in the namespace. Sockets that it opens and processes that it starts stay there.
func (n *netns) do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace of %s: %w", n.name, err)
		}
		return f()
	})
}

// dial connects from within the namespace. The address is a literal: nothing is looked up.
func (n *netns) dial(ctx context.Context, address string) (c net.Conn, err error) {
	err = n.do(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, "tcp", address)
		return err
	})
	return c, err
}

// ip runs lines of `ip -batch` in the namespace.
func (n *netns) ip(lines ...string) error {
	return n.do(func() error {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip -batch in %s: %w\n%s\n%s", n.name, err, strings.Join(lines, "\n"), out)
		}
		return nil
	})
}

// sysctl writes parameters of the namespace; /proc/sys/net shows each thread its own.
func (n *netns) sysctl(values map[string]string) error {
	return n.do(func() error {
		for name, value := range values {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
				return fmt.Errorf("in %s: %w", n.name, err)
			}
		}
		return nil
	})
}

// newSwitch makes the namespace of the bridge that joins all members.
func newSwitch() (*netns, error) {
	n, err := newNetns(outsideName)
	if err != nil {
		return nil, err
	}
	// It is the router of the network as well, and knows no way to Services: whoever asks it for one hears so
	// at once and need not wait for a timeout.
	if err := n.sysctl(map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"}); err != nil {
		return nil, err
	}
	return n, n.ip(switchWiring()...)
}

// join makes a member's namespace and plugs it into the bridge. A member of this name that was there before
// is unplugged first.
func (n *netns) join(m member) (*netns, error) {
	_ = n.ip("link del " + m.name) // not there the first time
	joined, err := newNetns(m.name)
	if err != nil {
		return nil, err
	}
	err = n.ip(
		fmt.Sprintf("link add %s type veth peer name eth0 netns %s", m.name, joined.path()),
		fmt.Sprintf("link set %s master br0 up", m.name))
	if err == nil && m.isNode() {
		// As every node of a cluster has it, see also the forwarder's --init-only.
		err = joined.sysctl(map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1"})
	}
	if err == nil {
		err = joined.ip(m.wiring()...)
	}
	return joined, err
}

// onThread runs f on a thread of its own, which ends with it: what f did to the thread's namespaces is seen by
// nobody else. The main thread cannot end, so it is passed over.
func onThread(f func() error) error {
	done := make(chan error, 1)
	var spawn func(f func())
	spawn = func(f func()) {
		go func() {
			runtime.LockOSThread()
			if unix.Gettid() != unix.Getpid() {
				f()
				return
			}
			elsewhere := make(chan struct{})
			spawn(func() { close(elsewhere); f() })
			<-elsewhere
			runtime.UnlockOSThread()
		}()
	}
	spawn(func() { done <- f() })
	return <-done
}
