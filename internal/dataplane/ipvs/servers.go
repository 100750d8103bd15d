package ipvs

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	moby "github.com/moby/ipvs"
	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// servers writes virtual servers, and lets backends that go end what they began.
type servers struct {
	handle   *moby.Handle
	draining map[virtual]map[netip.AddrPort]bool // backends with weight 0
	leaving  map[leaver]time.Time                // backends with weight 0 that are removed then
	reaped   time.Time                           // when reapAt looked last
	written  int                                 // requests that changed something
	refused  []refusal
}

// leaver is a backend that nothing ends at, so that it need not be waited for.
type leaver struct {
	virtual
	backend netip.AddrPort
}

// refusal is a backend that the kernel does not take: its address can be nobody's.
type refusal struct {
	virtual
	err error
}

// service is a virtual server as the library has it.
func (v virtual) service(s settings) *moby.Service {
	k := &moby.Service{SchedName: s.scheduler, Flags: s.flags(), Timeout: s.affinity, Netmask: 128, AddressFamily: unix.AF_INET6}
	if v.v4 {
		k.AddressFamily, k.Netmask = unix.AF_INET, 0xffffffff
	}
	if v.mark != 0 {
		k.FWMark = v.mark
		return k
	}
	k.Address, k.Protocol, k.Port = v.Addr.AsSlice(), uint16(v.Protocol), v.Port
	return k
}

// virtualOf names a virtual server of the kernel.
func virtualOf(k *moby.Service) virtual {
	v := virtual{mark: k.FWMark, v4: k.AddressFamily == unix.AF_INET}
	if v.mark == 0 {
		a, _ := netip.AddrFromSlice(k.Address)
		v.Frontend = vip.Frontend{Addr: a, Port: k.Port, Protocol: cluster.Protocol(k.Protocol)}
	}
	return v
}

func settingsOf(k *moby.Service) settings {
	s := settings{scheduler: k.SchedName}
	if k.Flags&flagPersistent != 0 {
		s.affinity = k.Timeout
	}
	if k.Flags&flagsKnown != s.flags() {
		s.scheduler += " with other flags"
	}
	return s
}

// list reads the virtual servers that are ours to keep, and notes what drains. A backend that
// has no weight is none; any other weight may stay.
func (k *servers) list(ours func(virtual) bool) (map[virtual]server, error) {
	services, err := k.handle.GetServices()
	if err != nil {
		return nil, fmt.Errorf("list the virtual servers: %w", err)
	}
	all := map[virtual]server{}
	k.draining, k.leaving = map[virtual]map[netip.AddrPort]bool{}, map[leaver]time.Time{}
	for _, s := range services {
		v := virtualOf(s)
		if !ours(v) {
			continue
		}
		now := server{settings: settingsOf(s), datagram: v.Protocol == cluster.UDP}
		list, err := k.handle.GetDestinations(s)
		if err != nil {
			return nil, fmt.Errorf("list the backends of virtual server %v: %w", v, err)
		}
		for _, d := range list {
			b := backendOf(d)
			if d.Weight > 0 {
				now.backends = append(now.backends, b)
			} else if now.drains() {
				k.drain(v, b)
			} else {
				k.leaving[leaver{v, b}] = time.Now().Add(answering)
			}
		}
		slices.SortFunc(now.backends, netip.AddrPort.Compare)
		all[v] = now
	}
	return all, nil
}

func backendOf(d *moby.Destination) netip.AddrPort {
	a, _ := netip.AddrFromSlice(d.Address)
	return netip.AddrPortFrom(a, d.Port)
}

func destinationOf(b netip.AddrPort, weight int) *moby.Destination {
	family := uint16(unix.AF_INET6)
	if b.Addr().Is4() {
		family = unix.AF_INET
	}
	return &moby.Destination{Address: b.Addr().AsSlice(), Port: b.Port(), Weight: weight, AddressFamily: family}
}

func (k *servers) drain(v virtual, b netip.AddrPort) {
	if k.draining[v] == nil {
		k.draining[v] = map[netip.AddrPort]bool{}
	}
	k.draining[v][b] = true
}

// change brings a virtual server up to date.
func (k *servers) change(c serverChange) error {
	s := c.service(c.settings)
	if c.isNew || c.changed {
		write, verb := k.handle.NewService, "make"
		if c.changed {
			write, verb = k.handle.UpdateService, "change"
		}
		k.written++
		if err := write(s); err != nil {
			return fmt.Errorf("%s virtual server %v with scheduler %s: %w", verb, c.virtual, c.scheduler, err)
		}
	}
	for _, b := range c.add {
		k.written++
		err := k.add(c.virtual, s, b)
		if errors.Is(err, unix.EINVAL) {
			k.refused = append(k.refused, refusal{c.virtual, fmt.Errorf("backend %v: %w", b, err)})
			continue
		}
		if err != nil {
			return fmt.Errorf("add backend %v to virtual server %v: %w", b, c.virtual, err)
		}
	}
	for _, b := range c.remove {
		k.written++
		if err := k.remove(c, s, b); err != nil {
			return fmt.Errorf("take backend %v from virtual server %v: %w", b, c.virtual, err)
		}
	}
	if k.draining[c.virtual] != nil {
		return k.reapServer(c.virtual)
	}
	return nil
}

// add adds a backend, or ends its draining.
func (k *servers) add(v virtual, s *moby.Service, b netip.AddrPort) error {
	d := destinationOf(b, 1)
	delete(k.leaving, leaver{v, b})
	if k.draining[v][b] {
		k.dried(v, b)
		return k.handle.UpdateDestination(s, d)
	}
	err := k.handle.NewDestination(s, d)
	if errors.Is(err, unix.EEXIST) {
		err = k.handle.UpdateDestination(s, d)
	}
	return err
}

// remove takes a backend away: it gets nothing new. It is removed when its connections have ended, or, where
// nothing is known to end, after a time.
func (k *servers) remove(c serverChange, s *moby.Service, b netip.AddrPort) error {
	if c.drains {
		k.drain(c.virtual, b)
	} else {
		k.leaving[leaver{c.virtual, b}] = time.Now().Add(answering)
	}
	return absent(k.handle.UpdateDestination(s, destinationOf(b, 0)))
}

// answering is how long a backend of datagrams stays after it gets none any more. With the backend the
// kernel forgets who asked it, and an answer on its way is lost.
const answering = 20 * time.Millisecond

// leave removes the backends whose time is over.
func (k *servers) leave(now time.Time) error {
	for l, at := range k.leaving {
		if at.After(now) {
			continue
		}
		k.written++
		if err := absent(k.handle.DelDestination(l.service(settings{}), destinationOf(l.backend, 0))); err != nil {
			return fmt.Errorf("take backend %v from virtual server %v: %w", l.backend, l.virtual, err)
		}
		delete(k.leaving, l)
	}
	if len(k.leaving) == 0 {
		k.leaving = map[leaver]time.Time{} // not cleared: iterating a cleared map still scans its buckets
	}
	return nil
}

// due returns when the next backend is to be removed; the zero time if none is.
func (k *servers) due() (first time.Time) {
	for _, at := range k.leaving {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// retire removes a virtual server and all its backends.
func (k *servers) retire(v virtual) error {
	delete(k.draining, v)
	maps.DeleteFunc(k.leaving, func(l leaver, _ time.Time) bool { return l.virtual == v })
	k.written++
	if err := absent(k.handle.DelService(v.service(settings{}))); err != nil {
		return fmt.Errorf("remove virtual server %v: %w", v, err)
	}
	return nil
}

// absent forgives what is not there already.
func absent(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// dried notes that a backend drains no more.
func (k *servers) dried(v virtual, b netip.AddrPort) {
	if delete(k.draining[v], b); len(k.draining[v]) == 0 {
		delete(k.draining, v)
	}
}

// reapPeriod is the time between two looks for connections to backends that drain.
const reapPeriod = 10 * time.Second

// reapAt is reap, if it is time for it.
func (k *servers) reapAt(now time.Time) error {
	if len(k.draining) == 0 || now.Sub(k.reaped) <= reapPeriod {
		return nil
	}
	k.reaped = now
	return k.reap()
}

// reap removes the backends whose connections have all ended.
func (k *servers) reap() error {
	var errs []error
	for v := range k.draining {
		errs = append(errs, k.reapServer(v))
	}
	return errors.Join(errs...)
}

func (k *servers) reapServer(v virtual) error {
	s := v.service(settings{})
	list, err := k.handle.GetDestinations(s)
	if err != nil {
		return fmt.Errorf("list the backends of virtual server %v: %w", v, err)
	}
	there := map[netip.AddrPort]bool{}
	for _, d := range list {
		there[backendOf(d)] = true
	}
	for b := range k.draining[v] {
		if !there[b] {
			k.dried(v, b)
		}
	}
	for _, d := range list {
		b := backendOf(d)
		if !k.draining[v][b] || d.ActiveConnections+d.InactiveConnections > 0 {
			continue
		}
		k.written++
		if err := absent(k.handle.DelDestination(s, destinationOf(b, 0))); err != nil {
			return fmt.Errorf("take backend %v from virtual server %v: %w", b, v, err)
		}
		k.dried(v, b)
	}
	return nil
}
