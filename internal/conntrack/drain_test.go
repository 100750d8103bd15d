package conntrack

import (
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A question that has its answer is over for the kernel, and what went on for more than
// two seconds is a stream: of a backend that drains only that stays, until it is silent as well.
func TestDrainingKeepsStreams(t *testing.T) {
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: install nftables", err)
	}
	n := netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1)
	client, err := n.AddPod("client")
	if err != nil {
		t.Fatal(err)
	}
	old, err := n.AddPod("old")
	if err != nil {
		t.Fatal(err)
	}
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
	c.Clean(nil, []Keep{{Frontend: udp("10.96.0.10:514"), Draining: []netip.AddrPort{netip.AddrPortFrom(old.IPv4, 514)}}})
	if r := <-results; r.Err != nil || r.Removed != 1 {
		t.Errorf("removed %d flows, %v; want the one that was answered", r.Removed, r.Err)
	}
	for range 6 { // it stays as long as it is one
		stream()
		time.Sleep(500 * time.Millisecond)
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
