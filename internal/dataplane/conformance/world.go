//go:build linux

package conformance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/netlab"
)

// world is the network of the package's documentation, with a dataplane on each
// node and what is installed in them. Only questions may be asked concurrently.
type world struct {
	lab     *netlab.Lab
	hosts   map[string]*netlab.Host
	servers []*netlab.EchoServer

	open     func() (plane, error)
	lacks    map[string]string // see Backend
	samples  int
	inTurn   bool
	mutant   mutant
	proxies  []*proxy
	config   config
	store    *cluster.Store
	services map[string]service
	routes   map[string]route

	patience time.Duration // how long an answer may take

	mu    sync.Mutex        // guards what follows
	ports map[string]int    // the UDP port from which a host asked last
	met   map[string]string // which backend a client met last, where that is always the same
}

// Kernels answer within a millisecond. These are for machines that are busy.
const (
	patience       = 10 * time.Second
	mutantPatience = 500 * time.Millisecond // what a mutant leaves unanswered is never answered
	silence        = 400 * time.Millisecond // so long nobody answers what is dropped
)

// newWorld builds the network for a test, with witnesses where these are dialled.
func newWorld(t *testing.T, b Backend, dialled []destination) *world {
	t.Helper()
	w := &world{
		lab: netlab.New(t, netlab.Config{Nodes: len(nodeNames)}), hosts: map[string]*netlab.Host{}, open: b.Open, lacks: b.Lacks, samples: b.Samples, inTurn: b.Samples > 0,
		store: cluster.NewStore(), services: map[string]service{}, routes: map[string]route{},
		patience: patience, ports: map[string]int{}, met: map[string]string{},
	}
	if !w.lab.HasIPv6() && os.Getenv("CI") == "true" {
		t.Fatal("with CI=true nothing is skipped: this kernel has no IPv6")
	}
	if w.samples == 0 {
		w.samples = map[bool]int{false: samples, true: shortSamples}[testing.Short()]
	}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(w.furnish(), w.addWitnesses(dialled), w.start()); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) close() error {
	var errs []error
	for _, p := range w.proxies {
		errs = append(errs, p.close())
	}
	for _, s := range w.servers {
		s.Close()
	}
	return errors.Join(errs...)
}

// furnish adds the pods, servers, addresses and routes.
func (w *world) furnish() error {
	w.hosts[outside] = w.lab.Outside
	for i, names := range podNames {
		node := w.lab.Nodes[i]
		w.hosts[nodeNames[i]] = node.Host
		for _, name := range names {
			pod, err := node.AddPod(name)
			if err != nil {
				return err
			}
			w.hosts[name] = pod
		}
	}
	for name, h := range w.hosts {
		if name == outside {
			continue
		}
		for _, port := range podPorts {
			at := []uint16{port}
			if port == defaultTarget {
				at = append(at, morePorts...)
			}
			if err := w.serve(h, destination{name, port}.String(), w.addrPorts(h, at)...); err != nil {
				return err
			}
		}
	}
	var routes []netlink.Route // of the host outside
	var back []netlink.Route   // of the switch
	for _, f := range w.families() {
		for _, b := range blocks {
			routes = append(routes, way(b.prefix[f], addrOf(w.lab.Nodes[0].Host, f)))
		}
		for _, n := range w.lab.Nodes {
			back = append(back, way([2]netip.Prefix{n.PodCIDR4, n.PodCIDR6}[f], addrOf(n.Host, f)))
		}
		if err := addAddr(w.hosts["node-1"], "eth0", secondAddr[f]); err != nil {
			return err
		}
	}
	return errors.Join(addRoutes(w.lab.Outside, routes), addRoutes(w.lab.Switch, back))
}

// addWitnesses lets somebody answer where packets go that no dataplane touches.
func (w *world) addWitnesses(dialled []destination) error {
	at := map[*netlab.Host][]netip.AddrPort{}
	seen := map[netip.AddrPort]bool{}
	for _, d := range dialled {
		if isPod(d.host) || isNode(d.host) && d.host != nodeSecond && slices.Contains(podPorts, d.port) {
			continue // it answers itself
		}
		for _, f := range w.families() {
			a, owner := w.addr(d.host, f), w.lab.Switch
			if n := home(d.host); n >= 0 {
				owner = w.lab.Nodes[n].Host
			} else if d.host == localhost {
				owner = w.lab.Nodes[0].Host
			} else if err := addAddr(owner, "lo", netip.PrefixFrom(a, a.BitLen())); err != nil {
				return err
			}
			if to := netip.AddrPortFrom(a, d.port); !seen[to] {
				seen[to] = true
				at[owner] = append(at[owner], to)
			}
		}
	}
	for h, addrs := range at {
		if err := w.serve(h, witness, addrs...); err != nil {
			return err
		}
	}
	return nil
}

// witness is the name of those who answer where no dataplane is to touch a packet.
const witness = "the witness"

func (w *world) serve(h *netlab.Host, name string, addrs ...netip.AddrPort) error {
	return h.Do(func() error {
		s, err := netlab.Echo(name, addrs...)
		if err == nil {
			w.servers = append(w.servers, s)
		}
		return err
	})
}

// families are those of the network.
func (w *world) families() []family {
	if !w.lab.HasIPv6() {
		return []family{ipv4}
	}
	return bothFamilies
}

// addr is an address by its name; not of anyNode.
func (w *world) addr(name string, f family) netip.Addr {
	if a, ok := virtual(name, f); ok {
		return a
	}
	switch name {
	case nodeSecond:
		return secondAddr[f].Addr()
	case localhost:
		return loopback[f]
	}
	return addrOf(w.hosts[name], f)
}

func addrOf(h *netlab.Host, f family) netip.Addr {
	if f == ipv4 {
		return h.IPv4
	}
	return h.IPv6
}

func (w *world) addrPorts(h *netlab.Host, ports []uint16) []netip.AddrPort {
	var all []netip.AddrPort
	for _, f := range w.families() {
		for _, port := range ports {
			all = append(all, netip.AddrPortFrom(addrOf(h, f), port))
		}
	}
	return all
}

// bridge is the address of a node among its pods.
func (w *world) bridge(node int, f family) netip.Addr {
	n := w.lab.Nodes[node]
	return nth([2]netip.Prefix{n.PodCIDR4, n.PodCIDR6}[f], 1)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func way(to netip.Prefix, gateway netip.Addr) netlink.Route {
	return netlink.Route{Dst: ipNet(to), Gw: gateway.AsSlice()}
}

func addRoutes(h *netlab.Host, routes []netlink.Route) error {
	return h.Do(func() error {
		for _, r := range routes {
			if err := netlink.RouteReplace(&r); err != nil {
				return fmt.Errorf("host %s: add route %v: %w", h.Name, r, err)
			}
		}
		return nil
	})
}

// addAddr adds an address that the host does not choose by itself as a source.
func addAddr(h *netlab.Host, link string, p netip.Prefix) error {
	const forever = 1<<31 - 1 // seconds
	return h.Do(func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return fmt.Errorf("host %s: find %s: %w", h.Name, link, err)
		}
		address := &netlink.Addr{IPNet: ipNet(p), Flags: noDAD, ValidLft: forever}
		address.IP = p.Addr().AsSlice()
		if err := netlink.AddrReplace(l, address); err != nil {
			return fmt.Errorf("host %s: add address %s to %s: %w", h.Name, p, link, err)
		}
		return nil
	})
}

const noDAD = 0x2 // IFA_F_NODAD of linux/if_addr.h
