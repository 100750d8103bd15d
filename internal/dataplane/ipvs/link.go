package ipvs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

// linkName is the interface that has the virtual addresses: IPVS sees only packets that
// are for the node itself. Operators know it by this name.
const linkName = "kube-ipvs0"

// genModeNone is IN6_ADDR_GEN_MODE_NONE of linux/if_link.h.
const genModeNone = 1

// link writes the addresses of the interface, and routes that make the node use its own address, and not
// the virtual one, when it dials that.
type link struct {
	handle  *netlink.Handle
	index   int
	source  map[bool]netip.Addr // that the node dials with, by whether IPv4
	written int
	// waiting are IPv6 addresses to which the kernel has not made its own route yet, and when it is no longer
	// waited for.
	waiting map[netip.Addr]time.Time
}

func openLink() (*link, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket to routing: %w", err)
	}
	return &link{handle: h, source: map[bool]netip.Addr{}, waiting: map[netip.Addr]time.Time{}}, nil
}

// ensure makes the interface, if it is not there, and looks for the node's own addresses.
func (k *link) ensure(v6 bool) error {
	found, err := k.handle.LinkByName(linkName)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		k.written++
		err = k.handle.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: linkName}})
		if errors.Is(err, unix.EOPNOTSUPP) {
			err = fmt.Errorf("%w (%w): expected the kernel module dummy", err, dataplane.ErrNotSupported)
		}
		if err == nil {
			found, err = k.handle.LinkByName(linkName)
		}
	}
	if err != nil {
		return fmt.Errorf("make interface %s: %w", linkName, err)
	}
	if found.Type() != "dummy" {
		return fmt.Errorf("interface %s is of type %s: expected dummy; remove it first", linkName, found.Type())
	}
	k.index = found.Attrs().Index
	if found.Attrs().Flags&net.FlagUp == 0 {
		k.written++
		// No address of its own: nobody is to find the node by it.
		err := k.handle.LinkSetIP6AddrGenMode(found, genModeNone)
		if err != nil && v6 {
			return fmt.Errorf("take the link-local address off interface %s: %w", linkName, err)
		}
		if err := k.handle.LinkSetUp(found); err != nil {
			return fmt.Errorf("set interface %s up: %w", linkName, err)
		}
	}
	k.findSources()
	return nil
}

// elsewhere are documentation addresses: what the node would use to reach these it uses for all that
// is beyond its own networks.
var elsewhere = map[bool]net.IP{true: net.IPv4(192, 0, 2, 1), false: net.ParseIP("2001:db8::1")}

func (k *link) findSources() {
	for v4, to := range elsewhere {
		delete(k.source, v4)
		routes, err := k.handle.RouteGet(to)
		if err != nil || len(routes) == 0 {
			continue // no way out: the node dials with the virtual address, and is masqueraded
		}
		if a, ok := netip.AddrFromSlice(routes[0].Src); ok {
			k.source[v4] = a.Unmap()
		}
	}
}

// list reads which addresses the interface has, and which others do.
func (k *link) list() (own, others map[netip.Addr]bool, err error) {
	list, err := k.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, nil, fmt.Errorf("list the addresses of this node: %w", err)
	}
	own, others = map[netip.Addr]bool{}, map[netip.Addr]bool{}
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		switch ip = ip.Unmap(); {
		case !ok:
		case a.LinkIndex != k.index:
			others[ip] = true
		case !ip.IsLinkLocalUnicast():
			own[ip] = true
		}
	}
	return own, others, nil
}

// bind adds an address.
func (k *link) bind(a netip.Addr) error {
	k.written++
	err := k.handle.AddrAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: k.index}}, address(a))
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %v to %s: %w", a, linkName, err)
	}
	return k.dialFrom(a)
}

// dialFrom makes the node dial an address from its own.
func (k *link) dialFrom(a netip.Addr) error {
	source, ok := k.source[a.Is4()]
	if !ok {
		return nil
	}
	r := k.route(a)
	r.Src = source.AsSlice()
	err := k.handle.RouteReplace(r)
	if err != nil {
		return fmt.Errorf("make the node dial %v from %v: %w", a, source, err)
	}
	if !a.Is4() {
		now := time.Now()
		k.waiting[a] = now.Add(patience)
		return k.removeKernels(a, now)
	}
	return nil
}

const (
	// patience is how long the kernel may take to make its own route to an IPv6 address, which it does in the
	// background.
	patience = 100 * time.Millisecond
	// routePoll is the time between two looks for that route.
	routePoll = 2 * time.Millisecond
)

// leaveToOurs removes the kernel's own routes to the IPv6 addresses that wait for it.
func (k *link) leaveToOurs(now time.Time) error {
	for a := range k.waiting {
		if err := k.removeKernels(a, now); err != nil {
			return err
		}
	}
	return nil
}

// removeKernels removes the kernel's own route to an IPv6 address, if it is there: ours cannot replace it. The
// kernel's comes first, for it has no metric. A route that comes too late is found by the next Sync.
func (k *link) removeKernels(a netip.Addr, now time.Time) error {
	kernels := k.route(a)
	kernels.Protocol = unix.RTPROT_KERNEL
	err := k.handle.RouteDel(kernels)
	if err == nil || !now.Before(k.waiting[a]) {
		delete(k.waiting, a)
	}
	if err := absent(err); err != nil {
		return fmt.Errorf("remove the kernel's route to %v: %w", a, err)
	}
	return nil
}

// route is the route to an address of the interface that we make. That to an IPv4 address is in place of the
// kernel's own and remains so; others are told apart by the protocol.
func (k *link) route(a netip.Addr) *netlink.Route {
	r := &netlink.Route{
		LinkIndex: k.index, Dst: address(a).IPNet, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL,
		Scope: netlink.SCOPE_HOST, Protocol: unix.RTPROT_KERNEL,
	}
	if !a.Is4() {
		r.Protocol = unix.RTPROT_STATIC
	}
	return r
}

// unbind removes an address.
func (k *link) unbind(a netip.Addr) error {
	k.written++
	delete(k.waiting, a)
	err := k.handle.AddrDel(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: k.index}}, address(a))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove address %v from %s: %w", a, linkName, err)
	}
	if err := absent(k.handle.RouteDel(k.route(a))); err != nil { // with another source than the kernel's it stays
		return fmt.Errorf("remove the route to %v: %w", a, err)
	}
	return nil
}

// misled are the addresses that the node would dial from another address than it should.
func (k *link) misled() ([]netip.Addr, error) {
	var list []netip.Addr
	for v4, source := range k.source {
		family := netlink.FAMILY_V6
		if v4 {
			family = netlink.FAMILY_V4
		}
		filter := &netlink.Route{Table: unix.RT_TABLE_LOCAL, LinkIndex: k.index}
		routes, err := k.handle.RouteListFiltered(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_OIF)
		if err != nil {
			return nil, fmt.Errorf("list the routes of %s: %w", linkName, err)
		}
		for _, r := range routes {
			if r.Type != unix.RTN_LOCAL || r.Dst == nil {
				continue
			}
			to, ok := netip.AddrFromSlice(r.Dst.IP)
			if from, _ := netip.AddrFromSlice(r.Src); ok && from.Unmap() != source {
				list = append(list, to.Unmap())
			}
		}
	}
	return list, nil
}

// remove removes the interface with all its addresses, if it is there.
func (k *link) remove() (bool, error) {
	found, err := k.handle.LinkByName(linkName)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return false, nil
	}
	if err == nil {
		err = k.handle.LinkDel(found)
	}
	if err != nil {
		return false, fmt.Errorf("remove interface %s: %w", linkName, err)
	}
	return true, nil
}

func address(a netip.Addr) *netlink.Addr {
	return &netlink.Addr{
		IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}, Flags: unix.IFA_F_NODAD,
	}
}

// intact reports whether the interface is there.
func (k *link) intact() (bool, error) {
	found, err := k.handle.LinkByName(linkName)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return false, nil
	}
	return err == nil && found.Attrs().Index == k.index, err
}
