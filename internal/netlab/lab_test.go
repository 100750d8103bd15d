//go:build linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// site is a kind of place in the lab, for the table of who reaches whom.
type site string

const (
	podA1   site = "pod a of node 1"
	podB1   site = "pod b of node 1"
	pod2    site = "pod of node 2"
	node1   site = "node 1"
	node2   site = "node 2"
	outside site = "outside"
)

var sites = []site{podA1, podB1, pod2, node1, node2, outside}

// reach says who can ask whom. The outside knows no way to the pods, and so gets no answer from them nor to them.
func reach(from, to site) bool {
	isPod := func(s site) bool { return s == podA1 || s == podB1 || s == pod2 }
	return !(from == outside && isPod(to)) && !(isPod(from) && to == outside)
}

func reachLab(t *testing.T) (*Lab, map[site]*Host) {
	t.Helper()
	lab := New(t, Config{Nodes: 2})
	hosts := map[site]*Host{node1: lab.Node(1).Host, node2: lab.Node(2).Host, outside: lab.Outside}
	for s, node := range map[site]*Node{podA1: lab.Node(1), podB1: lab.Node(1), pod2: lab.Node(2)} {
		pod, err := node.AddPod(strings.ReplaceAll(string(s), " ", "-"))
		if err != nil {
			t.Fatal(err)
		}
		hosts[s] = pod
	}
	for _, h := range hosts {
		if _, err := h.Echo(8080); err != nil {
			t.Fatal(err)
		}
	}
	return lab, hosts
}

func TestReach(t *testing.T) {
	lab, hosts := reachLab(t)
	for _, from := range sites {
		for _, to := range sites {
			for _, network := range []string{"tcp", "udp"} {
				for _, six := range []bool{false, true} {
					if six && !lab.HasIPv6() {
						continue
					}
					name := fmt.Sprintf("%s to %s,%s,IPv6=%v", from, to, network, six)
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						checkReach(t, hosts[from], hosts[to], network, six, reach(from, to))
					})
				}
			}
		}
	}
}

func checkReach(t *testing.T, from, to *Host, network string, six, want bool) {
	addr, source := to.IPv4, from.IPv4
	if six {
		addr, source = to.IPv6, from.IPv6
	}
	wait := 20 * time.Second
	if !want {
		wait = 300 * time.Millisecond // an answer that is not to come is not waited for long
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	reply, err := from.Ask(ctx, network, netip.AddrPortFrom(addr, 8080))
	switch {
	case !want && err == nil:
		t.Errorf("got an answer: %v, want none", reply)
	case want && err != nil:
		t.Errorf("got error %v, want an answer", err)
	case want && reply.Server != to.Name:
		t.Errorf("%q answered, want %q", reply.Server, to.Name)
	case want && from != to && !isOwn(from, reply.Client.Addr(), source):
		t.Errorf("the server saw %s, want the client's own address %s", reply.Client.Addr(), source)
	}
}

// isOwn allows a node to reach its own pods from the bridge's address.
func isOwn(from *Host, seen, eth0 netip.Addr) bool {
	if seen == eth0 {
		return true
	}
	own := false
	err := from.Do(func() error {
		addrs, err := net.InterfaceAddrs()
		for _, a := range addrs {
			own = own || a.(*net.IPNet).IP.Equal(seen.AsSlice())
		}
		return err
	})
	return err == nil && own && strings.HasPrefix(from.Name, "node-")
}

// TestHairpin: a bridge port must send a frame back to where it came from, or a pod cannot reach itself by a Service.
func TestHairpin(t *testing.T) {
	lab := New(t, Config{Nodes: 1})
	if _, err := lab.Node(1).AddPod("pod"); err != nil {
		t.Fatal(err)
	}
	port, err := lab.Node(1).nl.LinkByName("pod2")
	if err != nil {
		t.Fatal(err)
	}
	info, err := lab.Node(1).nl.LinkGetProtinfo(port)
	if err != nil || !info.Hairpin {
		t.Errorf("got hairpin %v, error %v, want true", info.Hairpin, err)
	}
}

// TestBridgeKeepsMAC: pods come and go, the gateway's MAC address stays.
func TestBridgeKeepsMAC(t *testing.T) {
	lab := New(t, Config{Nodes: 1})
	mac := func() string {
		link, err := lab.Node(1).nl.LinkByName(podBridge)
		if err != nil {
			t.Fatal(err)
		}
		return link.Attrs().HardwareAddr.String()
	}
	if got := mac(); got != "0a:58:0a:f4:01:01" {
		t.Errorf("got MAC address %s", got)
	}
	for i := range 4 {
		pod, err := lab.Node(1).AddPod(fmt.Sprintf("pod-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		if got := mac(); got != "0a:58:0a:f4:01:01" {
			t.Errorf("with pod %s: got MAC address %s", pod.Name, got)
		}
	}
}

func TestConfig(t *testing.T) {
	Need(t)
	for _, tt := range []struct {
		config Config
		ok     bool
	}{{Config{Nodes: 0}, false}, {Config{Nodes: 201}, false}, {Config{Nodes: -1}, false}, {Config{Nodes: 3, IPv4Only: true}, true}} {
		lab, err := Build(tt.config)
		if (err == nil) != tt.ok {
			t.Errorf("%+v: got error %v, want success %v", tt.config, err, tt.ok)
		}
		if err != nil {
			continue
		}
		if lab.HasIPv6() || lab.Node(3).IPv6.IsValid() || lab.Node(3).PodCIDR6.IsValid() {
			t.Errorf("%+v: the lab has IPv6", tt.config)
		}
		routes, err := lab.Node(3).nl.RouteList(nil, netlink.FAMILY_V4)
		if err != nil || len(routes) != 5 { // default, the switch's network, own pods, two nodes' pods
			t.Errorf("got %d routes, error %v, want 5: %v", len(routes), err, routes)
		}
		lab.Close()
	}
}

// TestDialClosedPort tells a refusal by the target from a missing way: the lab's routers must not swallow errors.
func TestDialClosedPort(t *testing.T) {
	lab := New(t, Config{Nodes: 2})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	conn, err := lab.Outside.Dial(ctx, "tcp", netip.AddrPortFrom(lab.Node(2).IPv4, 1))
	if err == nil {
		io.Copy(io.Discard, conn)
		conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("closed port: got %v, want connection refused", err)
	}
	pod := netip.AddrPortFrom(lab.plan.pods(1).host(9).v4.Addr(), 80)
	if _, err := lab.Outside.Dial(ctx, "tcp", pod); !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("pod from outside: got %v, want network unreachable", err)
	}
}
