package node

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/netlab"
)

// Networks are those of addresses and of routes without a gateway. A default route, routes by a
// gateway and the addresses of Services are none.
func TestMachineFollowsNetworks(t *testing.T) {
	netlab.Need(t)
	link := testLink(t, "br-test")
	virtual := testLink(t, virtualLink)
	m, err := NewMachine()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); m.Run(ctx, t.Logf) }()
	defer func() { cancel(); <-ended }()

	addAddr(t, virtual, "10.96.0.1/24")
	addAddr(t, link, "10.110.158.11/24")
	has := func(text string, added bool) {
		t.Helper()
		n := Network{netip.MustParsePrefix(text), added}
		eventually(t, text+" is there", func() bool { return slices.Contains(m.Networks(), n) })
	}
	has("10.110.158.0/24", false)
	addAddr(t, link, "fd00:96::11/120")
	has("fd00:96::/120", false)
	way := func(to string) *netlink.Route {
		_, dst, err := net.ParseCIDR(to)
		if err != nil {
			t.Fatal(err)
		}
		return &netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_STATIC}
	}
	gateway := way("198.51.100.0/24")
	gateway.Scope, gateway.Gw = netlink.SCOPE_UNIVERSE, net.ParseIP("10.110.158.1")
	for _, r := range []*netlink.Route{gateway, way("0.0.0.0/0"), way("10.98.7.7/32")} {
		if err := netlink.RouteAdd(r); err != nil {
			t.Fatal(err)
		}
	}
	has("10.98.7.7/32", true)
	for _, n := range m.Networks() {
		switch n.String() {
		case "0.0.0.0/0", "198.51.100.0/24", "10.96.0.0/24", "127.0.0.0/8", "fe80::/64":
			t.Errorf("%v is among the networks", n)
		}
	}
	select {
	case <-m.Changed():
	default:
	}
	if err := netlink.RouteDel(way("10.98.7.7/32")); err != nil {
		t.Fatal(err)
	}
	<-m.Changed()
	if got := m.Networks(); slices.Contains(got, Network{netip.MustParsePrefix("10.98.7.7/32"), true}) {
		t.Errorf("the route is gone: %v", got)
	}
}

func testLink(t *testing.T, name string) netlink.Link {
	t.Helper()
	link := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := netlink.LinkAdd(link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	return link
}

func addAddr(t *testing.T, link netlink.Link, text string) {
	t.Helper()
	p := netip.MustParsePrefix(text)
	mask := net.CIDRMask(p.Bits(), p.Addr().BitLen())
	address := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: mask}, Flags: unix.IFA_F_NODAD}
	if err := netlink.AddrAdd(link, address); err != nil {
		t.Fatal(err)
	}
}
