package conntrack

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// A draining is a backend that drains, and a client that asks it by the VIP.
type draining struct {
	t       *testing.T
	node    *netlab.Node
	client  *netlab.Host
	backend netip.AddrPort
	cleaner *Cleaner
	results chan Result
}

func newDraining(t *testing.T, port uint16) *draining {
	if _, err := exec.LookPath("nft"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v: install nftables", err)
	}
	d := &draining{t: t, node: netlab.New(t, netlab.Config{Nodes: 1, IPv4Only: true}).Node(1), results: make(chan Result, 1000)}
	var err error
	if d.client, err = d.node.AddPod("client"); err != nil {
		t.Fatal(err)
	}
	pod, err := d.node.AddPod("old")
	if err == nil {
		_, err = pod.Echo(port)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.backend = netip.AddrPortFrom(pod.IPv4, port)
	translate(t, d.node.Host, pod, port)
	if err := d.node.Do(func() (err error) { d.cleaner, err = New(func(r Result) { d.results <- r }); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.cleaner.Close)
	run(t, d.cleaner)
	return d
}

// dial returns what asks once, from one port each time.
func (d *draining) dial() (conn net.Conn, ask func()) {
	conn, err := d.client.Dial(d.t.Context(), "udp", netip.AddrPortFrom(netip.MustParseAddr("10.96.0.10"), d.backend.Port()))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { conn.Close() })
	return conn, func() {
		d.t.Helper()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := conn.Write([]byte("x")); err != nil {
			d.t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 512)); err != nil {
			d.t.Fatal(err)
		}
	}
}

// clean has the cleaner look once, and returns how many flows that removed.
func (d *draining) clean(k Keep) int {
	d.t.Helper()
	k.Frontend = udp(netip.AddrPortFrom(netip.MustParseAddr("10.96.0.10"), d.backend.Port()).String())
	d.cleaner.Clean(nil, []Keep{k})
	r := <-d.results
	if r.Err != nil {
		d.t.Error(r.Err)
	}
	return r.Removed
}

// A flow stays with a backend that drains, also one of a single question, and goes with the backend.
func TestDrainingKeepsTheFlow(t *testing.T) {
	d := newDraining(t, 514)
	_, ask := d.dial()
	ask()
	for range 2 {
		if n := d.clean(Keep{Draining: []netip.AddrPort{d.backend}}); n != 0 {
			t.Errorf("%d flows to a backend that drains were removed", n)
		}
		ask()
	}
	if n := d.clean(Keep{}); n != 1 {
		t.Errorf("%d flows to a backend that is gone were removed, want 1", n)
	}
}

// A flow of DNS goes from a backend that drains when it has been silent, so that a question from the same port
// begins a new one. One on which questions go on loses no answer.
func TestDrainingOfDNS(t *testing.T) {
	d := newDraining(t, dns)
	_, asks := d.dial()
	silent, ask := d.dial()
	ask()
	asks()
	removed := d.clean(Keep{Draining: []netip.AddrPort{d.backend}})
	if removed != 0 {
		t.Errorf("%d flows were removed while an answer could be under way", removed)
	}
	for removed == 0 && t.Context().Err() == nil {
		asks()
		select {
		case r := <-d.results:
			removed = r.Removed
		case <-time.After(50 * time.Millisecond): // of a client
		}
	}
	if removed != 1 {
		t.Errorf("%d flows were removed, want the silent one", removed)
	}
	if left := strings.Join(tracked(t, d.node.Host), "\n"); strings.Contains(left, silent.LocalAddr().String()) || strings.Count(left, "17 ") != 1 {
		t.Errorf("left:\n%s\nwant the flow on which questions go on", left)
	}
	asks()
}
