package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// How long addresses may be in motion before they are looked at, and how long to wait
// before the kernel is asked again after it broke off.
const (
	settle = 20 * time.Millisecond
	again  = time.Second
)

// virtualLink is the interface on which mode ipvs, kube-proxy's too, has the addresses of Services:
// they are not the machine's, and come and go with the Services.
const virtualLink = "kube-ipvs0"

// Machine holds the addresses of this machine's network namespace and the networks that it
// is connected to. Make one with NewMachine; Run keeps it up to date. Safe for concurrent use.
type Machine struct {
	changed chan struct{}

	mu       sync.Mutex
	addrs    []netip.Addr
	networks []Network
}

// NewMachine reads the addresses and networks.
func NewMachine() (*Machine, error) {
	m := &Machine{changed: make(chan struct{}, 1)}
	err := m.look()
	select {
	case <-m.changed: // the first look is no change
	default:
	}
	return m, err
}

// Addrs returns the addresses of all interfaces but kube-ipvs0, sorted, each once. It must not be changed.
func (m *Machine) Addrs() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addrs
}

// Networks returns the networks that this machine reaches without a gateway, but by
// kube-ipvs0 and the loopback interface, sorted, each once. It must not be changed.
func (m *Machine) Networks() []Network {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.networks
}

// Changed is readable when the addresses or networks are others than before.
func (m *Machine) Changed() <-chan struct{} { return m.changed }

// Run follows the addresses until ctx is done. If the kernel breaks off (it does
// when events come faster than they are read), it looks and listens again.
func (m *Machine) Run(ctx context.Context, logf func(format string, args ...any)) {
	for ctx.Err() == nil {
		if err := m.follow(ctx); err != nil {
			logf("following this machine's addresses: %v; trying again", err)
			select {
			case <-ctx.Done():
			case <-time.After(again):
			}
		}
	}
}

func (m *Machine) follow(ctx context.Context) error {
	updates, routes, done := make(chan netlink.AddrUpdate), make(chan netlink.RouteUpdate), make(chan struct{})
	failed := make(chan error, 2)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{ErrorCallback: fail})
	if err != nil {
		return fmt.Errorf("subscribing to address changes: %w", err)
	}
	err = netlink.RouteSubscribeWithOptions(routes, done, netlink.RouteSubscribeOptions{ErrorCallback: fail})
	if err != nil {
		close(routes)
	}
	defer func() {
		close(done)
		for range updates { // until the library has closed it
		}
		for range routes {
		}
	}()
	if err != nil {
		return fmt.Errorf("subscribing to route changes: %w", err)
	}
	look := time.NewTimer(0) // what changed before the subscription
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-updates:
			if !open {
				return ended(failed)
			}
			look.Reset(settle)
		case u, open := <-routes:
			if !open {
				return ended(failed)
			}
			if isConnected(&u.Route) { // routers have many others
				look.Reset(settle)
			}
		case <-look.C:
			if err := m.look(); err != nil {
				return err
			}
		}
	}
}

// ended is why a subscription ended, if it is known.
func ended(failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// look reads the addresses and networks and signals if they changed.
func (m *Machine) look() error {
	virtual := -1
	if link, err := netlink.LinkByName(virtualLink); err == nil {
		virtual = link.Attrs().Index
	}
	addrs, err := list(virtual)
	if err != nil {
		return err
	}
	networks, err := connected(virtual)
	if err != nil {
		return err
	}
	m.mu.Lock()
	same := slices.Equal(addrs, m.addrs) && slices.Equal(networks, m.networks)
	m.addrs, m.networks = addrs, networks
	m.mu.Unlock()
	if !same {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
	return nil
}

// list asks the kernel for all addresses but those of the interface virtual. An interface
// that comes or goes meanwhile makes it begin again.
func list(virtual int) ([]netip.Addr, error) {
	var all []netlink.Addr
	var err error
	for range 3 {
		if all, err = netlink.AddrList(nil, netlink.FAMILY_ALL); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading this machine's addresses: %w", err)
	}
	out := make([]netip.Addr, 0, len(all))
	for i := range all {
		if all[i].LinkIndex == virtual {
			continue
		}
		if a, ok := netip.AddrFromSlice(all[i].IP); ok {
			out = append(out, a.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}
