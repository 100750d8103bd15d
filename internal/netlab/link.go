//go:build linux

package netlab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The functions of this file change the interfaces of one host through its own rtnetlink socket, so they work from any
// goroutine.

func (h *Host) linkUp(name string) error {
	link, err := h.nl.LinkByName(name)
	if err == nil {
		err = h.nl.LinkSetUp(link)
	}
	if err != nil {
		return fmt.Errorf("host %s: bring up %s: %w", h.Name, name, err)
	}
	return nil
}

// addBridge creates a bridge that forwards at once and keeps its MAC address: by default a bridge takes over the lowest
// one of its ports, and whoever knew it under the old one is cut off.
func (h *Host) addBridge(name string, mac net.HardwareAddr) error {
	bridge := &netlink.Bridge{LinkAttrs: named(name)}
	bridge.HardwareAddr = mac
	if err := h.nl.LinkAdd(bridge); err != nil {
		return fmt.Errorf("host %s: create bridge %s: %w", h.Name, name, err)
	}
	return h.linkUp(name)
}

// plug connects other, as its eth0, to the bridge of h, by a pair of interfaces whose end in h is called port. With
// hairpin the bridge may send a frame back out of the port it came from: a pod reaches itself through its node.
func (h *Host) plug(other *Host, bridge, port string, hairpin bool) error {
	failed := func(err error) error {
		return fmt.Errorf("host %s: connect %s to %s: %w", h.Name, other.Name, bridge, err)
	}
	master, err := h.nl.LinkByName(bridge)
	if err != nil {
		return failed(err)
	}
	attrs := named(port)
	attrs.MasterIndex = master.Attrs().Index
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(other.ns)}
	if err := h.nl.LinkAdd(veth); err != nil {
		return failed(err)
	}
	if err := h.nl.LinkSetHairpin(veth, hairpin); err != nil {
		return failed(err)
	}
	if err := h.linkUp(port); err != nil {
		return err
	}
	return other.linkUp("eth0")
}

// unplug removes the port, and with it the other end.
func (h *Host) unplug(port string) error {
	link, err := h.nl.LinkByName(port)
	if err == nil {
		err = h.nl.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("host %s: remove interface %s: %w", h.Name, port, err)
	}
	return nil
}

// addAddr gives an interface an address, usable at once (no duplicate address detection). An invalid prefix, which
// stands for a missing IP family, is no work.
func (h *Host) addAddr(name string, prefix netip.Prefix) error {
	if !prefix.IsValid() {
		return nil
	}
	link, err := h.nl.LinkByName(name)
	if err == nil {
		err = h.nl.AddrReplace(link, &netlink.Addr{IPNet: ipNet(prefix), Flags: unix.IFA_F_NODAD})
	}
	if err != nil {
		return fmt.Errorf("host %s: add address %s to %s: %w", h.Name, prefix, name, err)
	}
	return nil
}

// addRoute sends what goes to prefix by way of gateway. An invalid prefix or gateway is no work.
func (h *Host) addRoute(prefix netip.Prefix, gateway netip.Addr) error {
	if !prefix.IsValid() || !gateway.IsValid() {
		return nil
	}
	if err := h.nl.RouteReplace(&netlink.Route{Dst: ipNet(prefix), Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("host %s: add route to %s by %s: %w", h.Name, prefix, gateway, err)
	}
	return nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

// bridgeMAC derives a locally administered address from the bridge's IPv4 address, as CNI's bridge plugin does.
func bridgeMAC(addr netip.Addr) net.HardwareAddr {
	ip := addr.As4()
	return net.HardwareAddr{0x0a, 0x58, ip[0], ip[1], ip[2], ip[3]}
}
