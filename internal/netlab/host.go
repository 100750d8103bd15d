//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ErrClosed is returned by a [Host] that is gone.
var ErrClosed = errors.New("the host is closed")

// A Host is a machine of the lab: network, mount and UTS namespaces, held by one thread. Its methods may be called
// concurrently.
type Host struct {
	// Name is its host name.
	Name string
	// IPv4 and IPv6 are its addresses on eth0. IPv6 is the zero Addr where the kernel has no IPv6.
	IPv4, IPv6 netip.Addr

	calls  chan call     // work for the thread
	closed chan struct{} // closed by Close
	ended  chan struct{} // closed when the thread has left its namespaces to the kernel
	once   sync.Once

	nl *netlink.Handle // rtnetlink in the host's network

	mu        sync.Mutex
	ns        netns.NsHandle // the network namespace; closed with the host
	processes map[*Process]struct{}
	servers   []*EchoServer
}

type call struct {
	f    func() error
	done chan<- error
}

// newHost starts a host that has a loopback interface and nothing else.
func newHost(name string, ipv4, ipv6 netip.Addr) (*Host, error) {
	h := &Host{
		Name: name, IPv4: ipv4, IPv6: ipv6,
		calls: make(chan call), closed: make(chan struct{}), ended: make(chan struct{}),
		ns: netns.None(), processes: map[*Process]struct{}{},
	}
	ready := make(chan error, 1)
	spawn(func() { h.live(ready) })
	if err := <-ready; err != nil {
		<-h.ended
		return nil, fmt.Errorf("create host %s: %w", name, err)
	}
	return h, nil
}

// live is the host's thread: it enters the new namespaces and then works until Close.
func (h *Host) live(ready chan<- error) {
	defer close(h.ended)
	if err := h.enter(); err != nil {
		h.release()
		ready <- err
		return
	}
	ready <- nil
	for {
		select {
		case c := <-h.calls:
			c.done <- c.f()
		case <-h.closed:
			h.release()
			return
		}
	}
}

// enter moves the calling thread into new namespaces and furnishes them.
func (h *Host) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("unshare network, mount and UTS namespaces: %w", err)
	}
	if err := unix.Sethostname([]byte(h.Name)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := ownEtc(h.Name, etcHosts(h.Name, h.IPv4, h.IPv6)); err != nil {
		return err
	}
	ns, err := netns.Get()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	h.mu.Lock()
	h.ns = ns
	h.mu.Unlock()
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open rtnetlink: %w", err)
	}
	return h.linkUp("lo")
}

// etcHosts is the text of /etc/hosts, as a kubelet writes it for a pod.
func etcHosts(name string, addrs ...netip.Addr) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, addr := range addrs {
		if addr.IsValid() {
			fmt.Fprintf(&b, "%s\t%s\n", addr, name)
		}
	}
	return b.String()
}

func (h *Host) release() {
	if h.nl != nil {
		h.nl.Close()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ns.IsOpen() {
		h.ns.Close()
	}
}

// Do runs f on the host's thread: files it opens, sockets it creates and processes it starts belong to the host. It
// returns f's error. One Do runs at a time, so f should not wait for long, and must not call Do of the same host. Work
// that f hands to other goroutines is not in the host, but a socket created by f stays in it whoever uses it.
func (h *Host) Do(f func() error) error {
	done := make(chan error, 1)
	select {
	case h.calls <- call{f, done}:
		return <-done
	case <-h.ended:
	case <-h.closed:
	}
	return fmt.Errorf("host %s: %w", h.Name, ErrClosed)
}

// onNet runs f on a new thread that shares only the host's network: for work that waits, such as connecting.
func (h *Host) onNet(f func() error) error {
	return onThread(func() error {
		if err := h.enterNet(); err != nil {
			return fmt.Errorf("enter the network of host %s: %w", h.Name, err)
		}
		return f()
	})
}

// enterNet moves the calling thread into the host's network.
func (h *Host) enterNet() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ns.IsOpen() {
		return ErrClosed
	}
	return netns.Set(h.ns)
}

// Sysctl sets a kernel parameter of the host's network, with slashes or dots: "net.ipv4.ip_forward".
func (h *Host) Sysctl(key, value string) error {
	path := "/proc/sys/" + strings.ReplaceAll(key, ".", "/")
	err := h.Do(func() error { return os.WriteFile(path, []byte(value), 0) })
	if err != nil {
		return fmt.Errorf("host %s: set %s=%s: %w", h.Name, key, value, err)
	}
	return nil
}

// SetResolver replaces the host's /etc/resolv.conf.
func (h *Host) SetResolver(r Resolver) error {
	err := h.Do(func() error { return os.WriteFile("/etc/resolv.conf", []byte(r.String()), 0o644) })
	if err != nil {
		return fmt.Errorf("host %s: set resolver: %w", h.Name, err)
	}
	return nil
}

// Close ends the host: its processes and servers are killed and waited for, and its interfaces vanish. Closing twice is
// allowed.
func (h *Host) Close() {
	h.once.Do(func() {
		h.mu.Lock()
		processes, servers := h.processes, h.servers
		h.processes, h.servers = nil, nil
		h.mu.Unlock()
		for p := range processes {
			p.Kill()
		}
		for _, s := range servers {
			s.Close()
		}
		close(h.closed)
	})
	<-h.ended
}
