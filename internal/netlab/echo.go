package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// Reply is what an [EchoServer] says: who answers, and from where it sees the question come.
type Reply struct {
	Server string
	Client netip.AddrPort
}

// String is the text on the wire.
func (r Reply) String() string { return fmt.Sprintf("server: %s\nclient: %s\n", r.Server, r.Client) }

// ParseReply reads the text of [Reply.String].
func ParseReply(text string) (Reply, error) {
	var r Reply
	var err error
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "server":
			r.Server = value
		case "client":
			r.Client, err = netip.ParseAddrPort(value)
		}
	}
	if err != nil || r.Server == "" || !r.Client.IsValid() {
		return Reply{}, fmt.Errorf("read reply %q: expected a line for server and one for client", text)
	}
	return r, nil
}

// An EchoServer answers HTTP requests, over TCP and SCTP, and UDP datagrams with a [Reply]. It closes every HTTP connection
// after one request, so that each request of a client is a connection of its own.
type EchoServer struct {
	name    string
	http    http.Server
	packets []*net.UDPConn
	wait    sync.WaitGroup
}

// Echo starts a server in the network namespace of the calling thread. It listens on TCP, UDP and, if the kernel has it,
// SCTP of every address: by address, not by wildcard, so that a UDP answer leaves from where the question went to.
func Echo(name string, addrs ...netip.AddrPort) (*EchoServer, error) {
	s := &EchoServer{name: name}
	s.http.Handler = http.HandlerFunc(s.serveHTTP)
	s.http.SetKeepAlivesEnabled(false)
	for _, addr := range addrs {
		if err := s.listen(addr); err != nil {
			s.Close()
			return nil, fmt.Errorf("echo server %s: %w", name, err)
		}
	}
	return s, nil
}

func (s *EchoServer) listen(addr netip.AddrPort) error {
	stream, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		return err
	}
	packet, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return errors.Join(err, stream.Close())
	}
	s.packets = append(s.packets, packet)
	s.wait.Go(func() { s.http.Serve(stream) })
	s.wait.Go(func() { s.servePackets(packet) })
	if !HasSCTP() {
		return nil
	}
	associations, err := listenSCTP(addr)
	if err == nil {
		s.wait.Go(func() { s.http.Serve(associations) })
	}
	return err
}

func (s *EchoServer) serveHTTP(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	io.WriteString(w, s.reply(from))
}

func (s *EchoServer) servePackets(conn *net.UDPConn) {
	buf := make([]byte, 64)
	for {
		_, from, err := conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil { // anything else is an ICMP error of an earlier answer
			conn.WriteToUDPAddrPort([]byte(s.reply(from)), from)
		}
	}
}

func (s *EchoServer) reply(from netip.AddrPort) string {
	return Reply{Server: s.name, Client: netip.AddrPortFrom(from.Addr().Unmap(), from.Port())}.String()
}

// Close stops the server and waits for its goroutines.
func (s *EchoServer) Close() {
	s.http.Close()
	for _, p := range s.packets {
		p.Close()
	}
	s.wait.Wait()
}

// AskUDP sends a datagram over conn and waits for the answer. UDP may lose either, so it asks again every half second.
func AskUDP(ctx context.Context, conn net.Conn) (string, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	buf := make([]byte, 512)
	for {
		if _, err := io.WriteString(conn, "who is there?"); err != nil {
			return "", errors.Join(ctx.Err(), err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			return "", errors.Join(ctx.Err(), err)
		}
		n, err := conn.Read(buf)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return string(buf[:n]), err
		}
	}
}

// askHTTP fetches / over conn.
func askHTTP(ctx context.Context, conn net.Conn) (string, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+conn.RemoteAddr().String()+"/", nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return string(text), err
}
