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

// Machine holds the addresses of this machine's network namespace. Make one with
// NewMachine; Run keeps it up to date. Safe for concurrent use.
type Machine struct {
	changed chan struct{}

	mu    sync.Mutex
	addrs []netip.Addr
}

// NewMachine reads the addresses.
func NewMachine() (*Machine, error) {
	m := &Machine{changed: make(chan struct{}, 1)}
	var err error
	m.addrs, err = list()
	return m, err
}

// Addrs returns the addresses of all interfaces but kube-ipvs0, sorted, each once. It must not be changed.
func (m *Machine) Addrs() []netip.Addr {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.addrs
}

// Changed is readable when the addresses are others than before.
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
	updates, done := make(chan netlink.AddrUpdate), make(chan struct{})
	failed := make(chan error, 1)
	err := netlink.AddrSubscribeWithOptions(updates, done, netlink.AddrSubscribeOptions{
		ErrorCallback: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
	})
	if err != nil {
		return fmt.Errorf("subscribing to address changes: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // until the library has closed it
		}
	}()
	look := time.NewTimer(0) // what changed before the subscription
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-updates:
			if !open {
				select {
				case err := <-failed:
					return err
				default:
					return nil
				}
			}
			look.Reset(settle)
		case <-look.C:
			if err := m.look(); err != nil {
				return err
			}
		}
	}
}

// look reads the addresses and tells if they changed.
func (m *Machine) look() error {
	addrs, err := list()
	if err != nil {
		return err
	}
	m.mu.Lock()
	same := slices.Equal(addrs, m.addrs)
	m.addrs = addrs
	m.mu.Unlock()
	if !same {
		select {
		case m.changed <- struct{}{}:
		default:
		}
	}
	return nil
}

// list asks the kernel for all addresses. An interface that comes or goes meanwhile
// makes it begin again.
func list() ([]netip.Addr, error) {
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
	virtual := -1
	if link, err := netlink.LinkByName(virtualLink); err == nil {
		virtual = link.Attrs().Index
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
