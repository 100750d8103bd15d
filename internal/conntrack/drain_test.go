package conntrack

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// What went on for more than two seconds is a stream for the kernel: of a backend that drains only that
// stays, until it is silent as well. A question goes when its answer cannot be on its way any more.
func TestDrainingKeepsStreams(t *testing.T) {
	n, client, old := drainingLab(t)
	if _, err := old.Echo(514); err != nil {
		t.Fatal(err)
	}
	translate(t, n.Host, old, 514)
	var c *Cleaner
	results := make(chan Result, 100)
	if err := n.Do(func() (err error) { c, err = New(func(r Result) { results <- r }); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run(t, c)
	dial := func() (ask func()) {
		conn, err := client.Dial(t.Context(), "udp", at("10.96.0.10:514"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return func() {
			t.Helper()
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := conn.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Read(make([]byte, 512)); err != nil {
				t.Fatal(err)
			}
		}
	}
	stream, question := dial(), dial()
	stream()
	time.Sleep(2200 * time.Millisecond)
	stream()
	stream()
	question()
	asked := time.Now()
	c.Clean(nil, []Keep{{Frontend: udp("10.96.0.10:514"), Draining: []netip.AddrPort{netip.AddrPortFrom(old.IPv4, 514)}}})
	// next is the first removal, within some time, while the stream goes on.
	next := func(limit time.Duration) (removed int) {
		for begin := time.Now(); removed == 0 && time.Since(begin) < limit; time.Sleep(200 * time.Millisecond) {
			stream()
			for len(results) > 0 {
				r := <-results
				if r.Err != nil {
					t.Error(r.Err)
				}
				removed += r.Removed
			}
		}
		return removed
	}
	if n := next(20 * time.Second); n != 1 || time.Since(asked) < time.Second {
		t.Errorf("after %v removed %d flows; want the one that was answered, and only after a second", time.Since(asked), n)
	}
	if n := next(3 * time.Second); n != 0 {
		t.Errorf("removed %d flows, although the stream goes on", n)
	}
	removed := 0
	for silent := time.Now(); removed == 0 && time.Since(silent) < 20*time.Second; {
		r := <-results
		if removed = r.Removed; removed > 0 && time.Since(silent) < 400*time.Millisecond {
			t.Error("it went while something went on")
		}
	}
	if removed != 1 {
		t.Errorf("removed %d flows, want the stream that has become silent", removed)
	}
	time.Sleep(drainLook * 3 / 2)
	if len(results) > 0 {
		t.Error("it looks again though nothing is left")
	}
}

// Who waits for an answer when the backend begins to drain gets it, also where the flow counted as over before.
func TestDrainingAnswers(t *testing.T) {
	n, client, old := drainingLab(t)
	translate(t, n.Host, old, 53)
	slowly := answerAfter(t, old, 53, 500*time.Millisecond)
	defer slowly.Close()
	var c *Cleaner
	if err := n.Do(func() (err error) { c, err = New(nil); return err }); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run(t, c)
	conn, err := client.Dial(t.Context(), "udp", at("10.96.0.10:53"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 2 { // the second at a port whose first question is answered
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			c.Clean(nil, []Keep{{Frontend: udp("10.96.0.10:53"), Draining: []netip.AddrPort{netip.AddrPortFrom(old.IPv4, 53)}}})
		}
		if _, err := conn.Read(make([]byte, 16)); err != nil {
			t.Errorf("question %d: %v", i+1, err)
		}
	}
	for begin := time.Now(); len(tracked(t, n.Host)) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("left: %q", tracked(t, n.Host))
		}
	}
}

// drainingLab is a node with a client and a backend that is to drain.
func drainingLab(t *testing.T) (n *netlab.Node, client, old *netlab.Host) {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: install nftables", err)
	}
	n = netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1)
	for name, host := range map[string]**netlab.Host{"client": &client, "old": &old} {
		var err error
		if *host, err = n.AddPod(name); err != nil {
			t.Fatal(err)
		}
	}
	return n, client, old
}

// answerAfter answers each datagram after a while.
func answerAfter(t *testing.T, h *netlab.Host, port uint16, pause time.Duration) io.Closer {
	t.Helper()
	var conn *net.UDPConn
	err := h.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(h.IPv4, port)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 16)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(pause)
			_, _ = conn.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	return conn
}
