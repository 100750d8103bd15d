//go:build linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Package net has no SCTP, but to it a one-to-one style SCTP socket (RFC 6458,
// section 4) that comes as a file is a stream socket like one of TCP: it accepts,
// reads and writes it by the same system calls.

// HasSCTP reports whether the kernel has SCTP sockets. Few are built with them, and
// where they are a module, looking loads it.
var HasSCTP = sync.OnceValue(func() bool {
	fd, err := sctpSocket(netip.IPv4Unspecified())
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
})

// sctpSocket makes a socket of the address's family, in the network namespace of the thread.
func sctpSocket(addr netip.Addr) (int, error) {
	family := unix.AF_INET6
	if addr.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_SCTP)
	return fd, os.NewSyscallError("socket", err)
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
}

// listenSCTP listens on an address.
func listenSCTP(addr netip.AddrPort) (net.Listener, error) {
	fd, err := sctpSocket(addr.Addr())
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "sctp")
	defer file.Close() // the listener has a copy
	err = os.NewSyscallError("bind", unix.Bind(fd, sockaddr(addr)))
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, 128))
	}
	if err != nil {
		return nil, fmt.Errorf("listen sctp %s: %w", addr, err)
	}
	return net.FileListener(file)
}

// dialSCTP connects to an address.
func dialSCTP(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	fd, err := sctpSocket(to.Addr())
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "sctp")
	defer file.Close() // the connection has a copy
	if err := connect(ctx, fd, to); err != nil {
		return nil, fmt.Errorf("dial sctp %s: %w", to, err)
	}
	return net.FileConn(file)
}

// connect waits until the association is there. An ICMP message ends it at once:
// SCTP asks for these, since it would otherwise only remember them.
func connect(ctx context.Context, fd int, to netip.AddrPort) error {
	level, option := unix.SOL_IP, unix.IP_RECVERR
	if !to.Addr().Is4() {
		level, option = unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	err := unix.Connect(fd, sockaddr(to))
	if !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		const step = 20 * time.Millisecond // between looks at ctx
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		n, err := unix.Poll(ready, int(step.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("poll", err)
		}
		if n > 0 {
			break
		}
	}
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && code != 0 {
		err = unix.Errno(code)
	}
	return os.NewSyscallError("connect", err)
}
