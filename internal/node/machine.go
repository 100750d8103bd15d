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

const (
	settle = 20 * time.Millisecond // between a change and the next reload, to batch changes
	again  = time.Second           // before a retry after an error
)

// virtualLink is the interface on which IPVS mode, kube-proxy's included, keeps the addresses of
// Services. They are not addresses of the machine, and change with the Services.
const virtualLink = "kube-ipvs0"

// Machine holds the addresses of this machine's network namespace and the networks that it
// is connected to. Create one with NewMachine; Run keeps it up to date. It is safe for concurrent use.
type Machine struct {
	changed chan struct{}

	mu       sync.Mutex
	addrs    []netip.Addr
	networks []Network
}

// NewMachine reads the addresses and networks.
func NewMachine() (*Machine, error) {
	m := &Machine{changed: make(chan struct{}, 1)}
	err := m.reload()
	select {
	case <-m.changed: // the first reload is no change
	default:
	}
	return m, err
}

// Addrs returns the addresses of all interfaces except kube-ipvs0, sorted and without duplicates. Callers must not modify it.
func (m *Machine) Addrs() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addrs
}

// Networks returns the networks that this machine reaches without a gateway, except through
// kube-ipvs0 and the loopback interface, sorted and without duplicates. Callers must not modify it.
func (m *Machine) Networks() []Network {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.networks
}

// Changed returns a channel that receives after the addresses or networks changed.
func (m *Machine) Changed() <-chan struct{} { return m.changed }

// Run follows the addresses until ctx is done. If the kernel ends the subscription (it does
// when events arrive faster than they are read), Run reloads and subscribes again.
func (m *Machine) Run(ctx context.Context, logf func(format string, args ...any)) {
	for ctx.Err() == nil {
		if err := m.follow(ctx); err != nil {
			logf("following this machine's addresses: %v; retrying", err)
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
		for range updates { // until the library closes it
		}
		for range routes {
		}
	}()
	if err != nil {
		return fmt.Errorf("subscribing to route changes: %w", err)
	}
	reload := time.NewTimer(0) // at once: for changes before the subscription
	defer reload.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-updates:
			if !open {
				return ended(failed)
			}
			reload.Reset(settle)
		case u, open := <-routes:
			if !open {
				return ended(failed)
			}
			if isConnected(&u.Route) { // routers change many other routes
				reload.Reset(settle)
			}
		case <-reload.C:
			if err := m.reload(); err != nil {
				return err
			}
		}
	}
}

// ended returns the error that ended a subscription, if there is one.
func ended(failed <-chan error) error {
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// reload reads the addresses and networks and signals if they changed.
func (m *Machine) reload() error {
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

// list reads all addresses except those of the interface virtual. It retries if an
// interface appears or disappears meanwhile.
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
