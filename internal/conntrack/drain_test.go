package conntrack

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
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

// clean has the cleaner look once, and returns what it did.
func (d *draining) clean(k Keep) Result {
	d.t.Helper()
	k.Frontend = udp(netip.AddrPortFrom(netip.MustParseAddr("10.96.0.10"), d.backend.Port()).String())
	d.cleaner.Clean(nil, []Keep{k})
	r := <-d.results
	if r.Err != nil {
		d.t.Error(r.Err)
	}
	return r
}

// has reports whether the kernel tracks a flow of a client.
func (d *draining) has(conn net.Conn) bool {
	return strings.Contains(strings.Join(tracked(d.t, d.node.Host), "\n"), conn.LocalAddr().String())
}

// A flow stays with a backend that drains, also one of a single question, and goes with the backend.
func TestDrainingKeepsTheFlow(t *testing.T) {
	d := newDraining(t, 514)
	_, ask := d.dial()
	ask()
	for range 2 {
		if r := d.clean(Keep{Draining: []netip.AddrPort{d.backend}}); r.Removed+r.Shortened != 0 {
			t.Errorf("got %+v, want that a flow to a backend that drains stays", r)
		}
		ask()
	}
	if r := d.clean(Keep{}); r.Removed != 1 {
		t.Errorf("got %+v, want that a flow to a backend that is gone is removed", r)
	}
}

// A flow of DNS ends when it has been silent at a backend that drains, so that a question from the same port
// begins a new one. One on which questions go on stays, and loses no answer.
func TestDrainingOfDNS(t *testing.T) {
	d := newDraining(t, dns)
	busy, asks := d.dial()
	silent, ask := d.dial()
	ask()
	asks()
	if r := d.clean(Keep{Draining: []netip.AddrPort{d.backend}}); r.Removed != 0 || r.Shortened != 2 {
		t.Errorf("got %+v, want both flows shortened", r)
	}
	for d.has(silent) && t.Context().Err() == nil {
		asks()
		time.Sleep(50 * time.Millisecond) // a client's pause
	}
	for r := (Result{}); r.Shortened == 0 && t.Context().Err() == nil; {
		asks() // each gives the flow its whole time again
		select {
		case r = <-d.results:
		case <-time.After(50 * time.Millisecond):
		}
	}
	if !d.has(busy) {
		t.Error("the flow on which questions go on has ended")
	}
	for d.has(busy) && t.Context().Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
}

// A flow without an answer keeps the time that the kernel gave it: the answer may be under way.
func TestDrainingOfDNSWaitsForTheAnswer(t *testing.T) {
	d := newDraining(t, dns)
	const asked = "10.244.1.9:1001"
	track(t, d.node.Host, unix.IPPROTO_UDP, asked, "10.96.0.10:53", d.backend.String())
	if r := d.clean(Keep{Draining: []netip.AddrPort{d.backend}}); r.Removed+r.Shortened != 0 {
		t.Errorf("got %+v, want that the flow stays", r)
	}
}

// A flow that began to another backend between the same two ends is not shortened.
func TestShortenNamesTheBackend(t *testing.T) {
	d := newDraining(t, dns)
	conn, ask := d.dial()
	ask()
	var found entry
	if err := d.cleaner.execute(dumpRequest(part{protocol: cluster.UDP}), func(message []byte) bool {
		if e, ok := parse(message); ok && e.answerer == d.backend {
			found = e.clone()
		}
		return true
	}); err != nil || found.reply == nil {
		t.Fatalf("found %+v, %v", found, err)
	}
	i := bytes.Index(found.reply, d.backend.Addr().AsSlice())
	found.reply[i+3]++ // another backend
	if did, err := d.cleaner.write(unix.AF_INET, []entry{found}, shortenRequest); did != 0 || err != nil {
		t.Errorf("shortened %d, %v; want none", did, err)
	}
	found.reply[i+3]--
	if did, err := d.cleaner.write(unix.AF_INET, []entry{found}, shortenRequest); did != 1 || err != nil {
		t.Errorf("shortened %d, %v; want one", did, err)
	}
	for d.has(conn) && t.Context().Err() == nil {
		time.Sleep(50 * time.Millisecond)
	}
}

// Of many flows those are counted that a request changed, wherever in the list others have ended.
func TestWriteManyFlows(t *testing.T) {
	h, c, _ := host(t)
	var list []entry
	const flows = 2*together + 7
	for i := range flows {
		track(t, h, unix.IPPROTO_UDP, fmt.Sprintf("10.244.1.9:%d", 1000+i), "10.96.0.10:53", "10.244.2.2:53")
	}
	if err := c.execute(dumpRequest(part{protocol: cluster.UDP}), func(message []byte) bool {
		e, _ := parse(message)
		list = append(list, e.clone())
		return true
	}); err != nil || len(list) != flows {
		t.Fatalf("read %d flows, %v; want %d", len(list), err, flows)
	}
	ended := []entry{list[0], list[together-1], list[together], list[flows-1]}
	if did, err := c.write(unix.AF_INET, ended, deleteRequest); did != len(ended) || err != nil {
		t.Errorf("removed %d, %v; want %d", did, err, len(ended))
	}
	for _, request := range []func(uint8, entry) *nl.NetlinkRequest{shortenRequest, deleteRequest} {
		if did, err := c.write(unix.AF_INET, list, request); did != flows-len(ended) || err != nil {
			t.Errorf("changed %d, %v; want %d", did, err, flows-len(ended))
		}
	}
	if left := tracked(t, h); len(left) != 0 {
		t.Errorf("%d flows are left", len(left))
	}
	if did, err := c.write(unix.AF_UNSPEC, list[:1], deleteRequest); did != 0 || err == nil {
		t.Errorf("a request that makes no sense: removed %d, %v", did, err)
	}
}
