package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// here is an address of its own: at 127.0.0.1 any port may be one that a client had a minute ago.
var here = netip.AddrFrom4([4]byte{127, byte(1 + rand.IntN(254)), byte(rand.IntN(256)), byte(1 + rand.IntN(254))})

// stage is a Relay that runs, and endpoints.
type stage struct {
	t        *testing.T
	relay    *Relay
	port     uint16 // the NodePort
	route    *vip.Route
	reported chan error
	mu       sync.Mutex
	count    map[Result]int
}

func (s *stage) counted(r Result) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[r]
}

// newStage runs a Relay.
func newStage(t *testing.T) *stage {
	s := &stage{t: t, reported: make(chan error, 9), count: map[Result]int{}}
	s.port = listen(t, 0).Port() + 1
	s.relay = New(func(_ *vip.Route, err error) { s.reported <- err }, func(r Result) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count[r]++
	})
	s.relay.pause = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.relay.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if listeners, _ := s.relay.Counts(); listeners != 0 {
			t.Errorf("%d sockets listen after the end", listeners)
		}
	})
	s.relay.Listen([]netip.Addr{here, netip.IPv6Loopback()})
	return s
}

// listen starts an endpoint, which says its port and then echoes what it gets until the client has sent all.
func listen(t *testing.T, port uint16) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(here, port).String())
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(l.Addr().String())
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				fmt.Fprintf(c, "%d\n", at.Port())
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return at
}

// serve makes endpoints those of the NodePort; change changes the route before.
func (s *stage) serve(change func(*vip.Route), endpoints ...netip.AddrPort) {
	r := &vip.Route{Frontend: vip.Frontend{Addr: vip.AnyNode4, Port: s.port, Protocol: cluster.TCP}, Kind: vip.NodePort}
	for _, e := range endpoints {
		r.Cluster = append(r.Cluster, vip.Backend{AddrPort: e})
	}
	if change != nil {
		change(r)
	}
	s.relay.Change([]vip.Change{{Frontend: r.Frontend, Old: s.route, New: r}})
	s.route = r
}

func (s *stage) dial() (net.Conn, error) {
	return net.Dial("tcp", netip.AddrPortFrom(here, s.port).String())
}

// ask connects, sends a word, ends and returns what came back.
func (s *stage) ask() (string, error) {
	c, err := s.dial()
	if err != nil {
		return "", err
	}
	defer c.Close()
	if _, err := c.Write([]byte("hello")); err != nil {
		return "", err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	text, err := io.ReadAll(c)
	return string(text), err
}

// until waits until a question is answered as wanted.
func (s *stage) until(what string, ok func(answer string, err error) bool) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		answer, err := s.ask()
		if ok(answer, err) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s: %q, %v", what, answer, err)
		}
	}
}

func (s *stage) answers(from netip.AddrPort) func(string, error) bool {
	want := fmt.Sprintf("%d\nhello", from.Port())
	return func(answer string, err error) bool { return err == nil && answer == want }
}

func refused(_ string, err error) bool { return errors.Is(err, unix.ECONNREFUSED) }

// reset is what a client hears that is taken and has no endpoint: at its write or its read.
func reset(_ string, err error) bool {
	return errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ENOTCONN)
}

// A NodePort leads to its endpoints as they change, and nowhere once it is gone.
func TestRelay(t *testing.T) {
	s := newStage(t)
	a, b := listen(t, 0), listen(t, 0)
	s.serve(nil, a, b)
	s.until("the first endpoint", s.answers(a))
	s.until("the second endpoint", s.answers(b))
	s.serve(nil, b)
	for range 20 {
		if answer, err := s.ask(); !s.answers(b)(answer, err) {
			t.Fatalf("an endpoint that is gone: %q, %v", answer, err)
		}
	}
	gone := netip.AddrPortFrom(here, s.port+1) // nothing listens there
	s.serve(nil, gone, b)
	for range 20 {
		if answer, err := s.ask(); !s.answers(b)(answer, err) {
			t.Fatalf("beside an endpoint that refuses: %q, %v", answer, err)
		}
	}
	s.serve(nil, gone)
	if answer, err := s.ask(); !reset(answer, err) {
		t.Errorf("an endpoint that refuses: %q, %v", answer, err)
	}
	if n := s.counted(NoAnswer); n != 1 || s.counted(Connected) < 42 || s.counted(NoEndpoint) != 0 {
		t.Errorf("counted %v", s.count)
	}
	s.serve(func(r *vip.Route) { r.Policy = vip.RejectAll }, a)
	if answer, err := s.ask(); !reset(answer, err) {
		t.Errorf("no endpoint: %q, %v", answer, err)
	}
	if s.counted(NoEndpoint) != 1 {
		t.Errorf("counted %v", s.count)
	}
	s.serve(func(r *vip.Route) { r.Policy, r.Local, r.Cluster = vip.LocalKeep, r.Cluster, nil }, a)
	s.until("a local endpoint", s.answers(a))
	s.relay.Listen([]netip.Addr{netip.IPv6Loopback()})
	s.until("another address", refused)
	s.relay.Listen([]netip.Addr{here})
	s.until("the address again", s.answers(a))
	s.relay.Change([]vip.Change{{Frontend: s.route.Frontend, Old: s.route}})
	s.until("gone", refused)
}

// Clients of a Service with affinity get the same endpoint while it is there.
func TestAffinity(t *testing.T) {
	s := newStage(t)
	a, b, c := listen(t, 0), listen(t, 0), listen(t, 0)
	sticks := func(r *vip.Route) { r.Affinity = 60 }
	s.serve(sticks, a, b)
	s.until("an endpoint", func(_ string, err error) bool { return err == nil })
	first, _ := s.ask()
	for range 20 {
		if answer, err := s.ask(); err != nil || answer != first {
			t.Fatalf("%q, %v, want %q", answer, err, first)
		}
	}
	s.serve(sticks, c)
	s.until("another endpoint", s.answers(c))
	now := time.Now()
	s.relay.chosen(s.route.Frontend, c, now.Add(-2*time.Minute))
	s.serve(sticks, a, b, c)
	seen := map[netip.AddrPort]bool{}
	for range 200 {
		seen[s.relay.choose(s.route.Frontend, now)[0]] = true
	}
	if len(seen) != 3 {
		t.Errorf("after the time of affinity: %v, want each of three endpoints", seen)
	}
}

// A port that another process has is reported once, and served when it is free.
func TestPortIsTaken(t *testing.T) {
	s := newStage(t)
	other, err := net.Listen("tcp", netip.AddrPortFrom(here, s.port).String())
	if err != nil {
		t.Fatal(err)
	}
	a := listen(t, 0)
	s.serve(nil, a)
	if err := <-s.reported; !errors.Is(err, unix.EADDRINUSE) || !strings.Contains(err.Error(), "listen for a NodePort") {
		t.Errorf("reported %v", err)
	}
	_ = other.Close()
	s.until("the port is free", s.answers(a))
	if len(s.reported) > 0 {
		t.Errorf("reported again: %v", <-s.reported)
	}
	if listeners, failures := s.relay.Counts(); listeners != 1 || failures == 0 {
		t.Errorf("%d sockets listen and %d attempts failed, want 1 and some", listeners, failures)
	}
}

// One NodePort does not get all connections, and the end of the Relay ends them.
func TestBounds(t *testing.T) {
	s := newStage(t)
	a := listen(t, 0)
	s.serve(nil, a)
	s.until("an endpoint", s.answers(a))
	read := func(c net.Conn) error { // of the first line
		_, err := io.ReadFull(c, make([]byte, len(fmt.Sprintf("%d\n", a.Port()))))
		return err
	}
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range mostOfOne {
		c, err := s.dial()
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		if err := read(c); err != nil {
			t.Fatalf("connection %d: %v", len(open), err)
		}
	}
	if answer, err := s.ask(); !reset(answer, err) {
		t.Errorf("one more: %q, %v", answer, err)
	}
	if s.counted(TooMany) != 1 {
		t.Errorf("counted %v", s.count)
	}
	_ = open[0].Close()
	s.until("after one has ended", s.answers(a))
	if got := s.relay.enter(vip.Frontend{Addr: vip.AnyNode4, Port: 1}); !got {
		t.Error("another NodePort gets none")
	}
	s.relay.leave(vip.Frontend{Addr: vip.AnyNode4, Port: 1})
}
