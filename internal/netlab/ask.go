//go:build linux

package netlab

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Echo starts an [EchoServer] on the host's own addresses that answers with the host's name. The host closes it.
func (h *Host) Echo(port uint16) (*EchoServer, error) {
	var addrs []netip.AddrPort
	for _, addr := range []netip.Addr{h.IPv4, h.IPv6} {
		if addr.IsValid() {
			addrs = append(addrs, netip.AddrPortFrom(addr, port))
		}
	}
	var server *EchoServer
	err := h.Do(func() (err error) {
		server, err = Echo(h.Name, addrs...)
		return err
	})
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers = append(h.servers, server)
	return server, nil
}

// Ask asks the echo server at an address, from this host, over "tcp" or "sctp" (HTTP) or "udp". It never waits longer than ctx.
func (h *Host) Ask(ctx context.Context, network string, to netip.AddrPort) (Reply, error) {
	conn, err := h.Dial(ctx, network, to)
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	ask := askHTTP
	if network == "udp" {
		ask = AskUDP
	}
	text, err := ask(ctx, conn)
	if err != nil {
		return Reply{}, fmt.Errorf("host %s: ask %s %s: %w", h.Name, network, to, err)
	}
	return ParseReply(text)
}

// Dial connects from this host, over "tcp", "sctp" or "udp".
func (h *Host) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	var conn net.Conn
	err := h.onNet(func() (err error) {
		if network == "sctp" {
			conn, err = dialSCTP(ctx, to)
			return err
		}
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, to.String()) // a literal address: the socket is made by this goroutine
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name, err)
	}
	return conn, nil
}

// Listen listens on TCP in this host. The caller closes.
func (h *Host) Listen(at string) (net.Listener, error) {
	var l net.Listener
	err := h.onNet(func() (err error) {
		l, err = net.Listen("tcp", at)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", h.Name, err)
	}
	return l, nil
}

// ConnectOnce opens a TCP connection over IPv4 and resets it, so that no port is left behind. It is for
// who counts what connections cost: call it within [Host.Do].
func ConnectOnce(to netip.AddrPort) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("connect to %v: %w", to, err)
	}
	defer unix.Close(fd)
	if err = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	}
	if err != nil {
		return fmt.Errorf("connect to %v: %w", to, err)
	}
	return nil
}
