package ipvs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net/netip"
	"os"
	"time"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// defaultScheduler is round robin, also kube-proxy's default.
const defaultScheduler = "rr"

// Options are what can be chosen about a Dataplane.
type Options struct {
	// Log gets a line where an operator may want to know. Nil is silence.
	Log *slog.Logger
	// Scheduler is that of Services that ask for none; empty is rr.
	Scheduler string
	// Exclude are the networks in which others have virtual servers of their own: those stay.
	// All others that no Service has are removed.
	Exclude []netip.Prefix
	// StrictARP keeps other interfaces from answering ARP for the addresses on kube-ipvs0.
	StrictARP bool
	// Timeouts of idle connections: TCP, TCP after FIN, UDP. 0 leaves the kernel's.
	TCPTimeout, TCPFinTimeout, UDPTimeout time.Duration
}

// Dataplane is a dataplane.Dataplane by IPVS. It is used by one goroutine.
type Dataplane struct {
	options   Options
	log       *slog.Logger
	servers   *servers
	link      *link
	companion *companion
	v6        bool
	model     *model
	layouts   []*layout       // one for each family
	known     map[string]bool // which schedulers the kernel has
	sample    virtual         // that Tick asks for
	doubt     error           // why it is not known what is in the kernel; nil if it is
	looked    time.Time       // when Tick looked at the kernel last
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// Open opens a dataplane in the network namespace of the calling thread. It changes nothing yet.
func Open(o Options) (*Dataplane, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Scheduler == "" {
		o.Scheduler = defaultScheduler
	}
	d := &Dataplane{options: o, log: o.Log, known: map[string]bool{}, doubt: errors.New("there was no Sync yet")}
	_, err := os.Stat("/proc/sys/net/ipv6")
	d.v6 = err == nil
	handle, err := openHandle()
	if err != nil {
		return nil, err
	}
	d.servers = &servers{handle: handle}
	if d.link, err = openLink(); err == nil {
		d.companion, err = openCompanion()
	}
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Close implements dataplane.Dataplane.
func (d *Dataplane) Close() error {
	d.servers.handle.Close()
	if d.link != nil {
		d.link.handle.Close()
	}
	if d.companion != nil {
		return d.companion.close()
	}
	return nil
}

// Sync implements dataplane.Dataplane. It waits for what Apply would leave to Tick.
func (d *Dataplane) Sync(ctx context.Context, host dataplane.Host, t *vip.Table) error {
	if bits.OnesCount32(host.MasqueradeMark) != 1 {
		return fmt.Errorf("mark for masquerading 0x%x: expected one bit", host.MasqueradeMark)
	}
	d.doubt = errors.New("the last Sync did not end")
	changes := t.Additions()
	if err := d.setUp(); err != nil {
		d.doubt = err
		return err
	}
	bound, own, err := d.link.list()
	if err != nil {
		d.doubt = err
		return err
	}
	d.model = newModel(&host, d.scheduler)
	d.model.own = own
	_, want := d.model.change(d.served(changes))
	d.layouts = []*layout{newLayout(&host, true)}
	if d.v6 {
		d.layouts = append(d.layouts, newLayout(&host, false))
	}
	if d.doubt = d.adopt(bound, want); d.doubt == nil {
		d.doubt = d.finish(ctx)
	}
	if d.doubt != nil {
		return d.doubt
	}
	return d.refusals(changes)
}

// adopt brings the kernel to a state, from whatever is there. bound are the addresses that
// kube-ipvs0 has.
func (d *Dataplane) adopt(bound map[netip.Addr]bool, want facts) error {
	have := newFacts()
	have.addrs = bound
	var err error
	if have.servers, err = d.servers.list(d.ours); err != nil {
		return err
	}
	d.sample = virtual{}
	for v := range want.servers {
		d.sample = v
		break
	}
	s := diff(have, want)
	wanted := entries(want.elements)
	s.rules, s.last = edits{}, edits{}
	for _, l := range d.layouts {
		late, err := d.adoptTable(l, wanted)
		if err != nil {
			return err
		}
		s.last.drop = append(s.last.drop, late.drop...)
	}
	if err := d.take(s); err != nil {
		return err
	}
	misled, err := d.link.misled()
	for _, a := range misled {
		err = errors.Join(err, d.link.dialFrom(a))
	}
	return err
}

// adoptTable brings the companion of a family to what it should have, or makes it anew. It returns what
// is to be done when the servers are as they should be.
func (d *Dataplane) adoptTable(l *layout, wanted map[entry]bool) (late edits, err error) {
	own := map[entry]bool{}
	for e := range wanted {
		if e.v4 == l.v4 {
			own[e] = true
		}
	}
	have, there, err := d.companion.find(l)
	if err != nil {
		return late, err
	}
	first, late := diffEntries(have, own)
	if !there {
		return late, d.companion.make(l, first.put)
	}
	return late, d.companion.edit(l, first)
}

// take does the steps.
func (d *Dataplane) take(s steps) error {
	if err := d.editBoth(s.rules); err != nil {
		return err
	}
	for _, c := range s.serve {
		if err := d.servers.change(c); err != nil {
			return err
		}
		d.sample = c.virtual
	}
	for _, a := range s.bind {
		if err := d.link.bind(a); err != nil {
			return err
		}
	}
	for _, a := range s.unbind {
		if err := d.link.unbind(a); err != nil {
			return err
		}
	}
	for _, v := range s.retire {
		if err := d.servers.retire(v); err != nil {
			return err
		}
		if v == d.sample {
			d.sample = virtual{}
		}
	}
	return d.editBoth(s.last)
}

// editBoth edits the companions of both families.
func (d *Dataplane) editBoth(e edits) error {
	for _, l := range d.layouts {
		var own edits
		for _, n := range e.drop {
			if n.v4 == l.v4 {
				own.drop = append(own.drop, n)
			}
		}
		for _, n := range e.put {
			if n.v4 == l.v4 {
				own.put = append(own.put, n)
			}
		}
		if own.empty() {
			continue
		}
		if err := d.companion.edit(l, own); err != nil {
			return err
		}
	}
	return nil
}

// Apply implements dataplane.Dataplane. Tick removes the backends that get nothing new any more.
func (d *Dataplane) Apply(_ context.Context, changes []vip.Change) (time.Time, error) {
	if d.doubt != nil {
		return time.Time{}, fmt.Errorf("apply %d changes: it is not known what is in the kernel, Sync must come first: %w", len(changes), d.doubt)
	}
	before, after := d.model.change(d.served(changes))
	if err := d.take(diff(before, after)); err != nil {
		d.doubt = err
		return time.Time{}, err
	}
	return d.due(time.Now()), d.refusals(changes)
}

// served are the changes of the families that this node has.
func (d *Dataplane) served(changes []vip.Change) []vip.Change {
	if d.v6 {
		return changes
	}
	var own []vip.Change
	for _, c := range changes {
		if c.Addr.Is4() {
			own = append(own, c)
		}
	}
	return own
}

// refusals are the errors about routes that could not be programmed as the others were.
func (d *Dataplane) refusals(changes []vip.Change) error {
	var errs []error
	for _, r := range d.servers.refused {
		if route := d.model.routeOf(r.virtual); route != nil {
			errs = append(errs, &dataplane.RouteError{Route: route, Err: r.err})
		}
	}
	d.servers.refused = nil
	for _, c := range changes {
		if c.New != nil && !c.Addr.Is4() && !d.v6 {
			errs = append(errs, &dataplane.RouteError{Route: c.New, Err: fmt.Errorf("IPv6: %w", dataplane.ErrNotSupported)})
		}
	}
	return errors.Join(errs...)
}

// lookPeriod is the least time between two looks at what other programs may change.
const lookPeriod = 500 * time.Millisecond

// Tick implements dataplane.Dataplane.
func (d *Dataplane) Tick(_ context.Context, now time.Time) (state dataplane.State, err error) {
	if d.doubt != nil {
		return dataplane.State{Changed: true}, nil
	}
	if d.doubt = d.proceed(now); d.doubt != nil {
		return state, d.doubt
	}
	if err := d.servers.reapAt(now); err != nil {
		d.log.Warn("looking for connections to backends that went", "error", err)
		return dataplane.State{Changed: true}, nil
	}
	state.Due = d.due(now)
	if now.Sub(d.looked) >= lookPeriod {
		d.looked = now
		intact, err := d.verify()
		state.Changed, state.Unseen = !intact && err == nil, err
	}
	return state, nil
}

// proceed does what is due of what Apply left.
func (d *Dataplane) proceed(now time.Time) error {
	return errors.Join(d.servers.leave(now), d.link.leaveToOurs(now))
}

// due returns when something is due of what Apply left; the zero time if nothing is left.
func (d *Dataplane) due(now time.Time) time.Time {
	due := d.servers.due()
	if len(d.link.waiting) > 0 && (due.IsZero() || due.After(now.Add(routePoll))) {
		due = now.Add(routePoll)
	}
	return due
}

// finish waits until nothing is left.
func (d *Dataplane) finish(ctx context.Context) error {
	for {
		due := d.due(time.Now())
		if due.IsZero() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(due)):
		}
		if err := d.proceed(time.Now()); err != nil {
			return err
		}
	}
}

// verify reports whether the companion, a virtual server and the addresses are as they were written.
func (d *Dataplane) verify() (bool, error) {
	for _, l := range d.layouts {
		if ok, err := d.companion.intact(l); !ok || err != nil {
			if err == nil {
				d.log.Warn("another program changed our rules", "table", l.family()+" "+tableName)
			}
			return false, err
		}
	}
	if d.sample != (virtual{}) && !d.servers.handle.IsServicePresent(d.sample.service(settings{})) {
		d.log.Warn("another program changed our virtual servers", "missing", d.sample.String())
		return false, nil
	}
	return d.link.intact()
}

// ours reports whether a virtual server of the kernel is ours to keep or to remove.
func (d *Dataplane) ours(v virtual) bool {
	if v.mark != 0 {
		bit := d.model.host.MasqueradeMark
		return v.mark&markMask&^bit == markTag&^bit
	}
	for _, p := range d.options.Exclude {
		if p.Contains(v.Addr) {
			return false
		}
	}
	return true
}
