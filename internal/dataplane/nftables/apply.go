package nftables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Options are what can be chosen about a Dataplane.
type Options struct {
	// Log gets a line where an operator may want to know. Nil is silence.
	Log *slog.Logger
	// Shared leaves the tables to everybody, as on kernels before 6.9: another
	// program can flush them, which Tick notices. Otherwise the kernel keeps other
	// programs off them, which has a price: `nft -f` refuses a file as a whole if it
	// has a listing of them in it, saved by `nft list ruleset`, as long as this process
	// lives (measured with nft 1.0.6; the kernel says "operation not permitted").
	Shared bool
}

// Dataplane is a dataplane.Dataplane on nf_tables. It is used by one goroutine.
// RouteErrors do not spoil it: Apply goes on after them.
type Dataplane struct {
	conn   *nft.Conn
	log    *slog.Logger
	flags  uint32 // of our tables
	can    features
	tables []*table
	doubt  error     // why it is not known what is in the kernel; nil if it is
	looked time.Time // when Tick looked at the kernel last

	generation uint32 // of the rules of this host, when they were last seen to be intact
	commits    uint32 // how many commits of ours that generation includes
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// Open opens a dataplane in the network namespace of the calling thread. It changes
// nothing yet.
func Open(o Options) (*Dataplane, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c, err := nft.Dial(nft.MaxTransaction)
	if err != nil {
		return nil, err
	}
	d := &Dataplane{conn: c, log: o.Log, doubt: errors.New("there was no Sync yet")}
	if d.can, err = probe(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if d.can.persist && !o.Shared {
		d.flags = nft.TableOwner | nft.TablePersist
	}
	return d, nil
}

func (d *Dataplane) owns() bool { return d.flags&nft.TableOwner != 0 }

// Sync implements dataplane.Dataplane.
func (d *Dataplane) Sync(ctx context.Context, host dataplane.Host, t *vip.Table) error {
	if bits.OnesCount32(host.MasqueradeMark) != 1 {
		return fmt.Errorf("mark for masquerading 0x%x: expected one bit", host.MasqueradeMark)
	}
	d.doubt = errors.New("the last Sync did not end")
	generation, err := d.conn.Generation()
	if err != nil {
		return err
	}
	d.generation, d.commits, d.tables = generation, d.conn.Commits(), nil
	var errs []error
	for _, f := range families {
		want := desired{host: host}
		for r := range t.All() {
			if familyOf(r.Frontend) == f {
				want.routes = append(want.routes, r)
			}
		}
		if !slices.Contains(d.can.families, f) {
			errs = append(errs, refuseAll(f, want.routes))
			continue
		}
		slices.SortFunc(want.routes, byAge)
		table, err := d.syncTable(ctx, newLayout(f, host), want)
		if fatal(err) {
			d.doubt = err
			return err
		}
		errs = append(errs, err)
		d.tables = append(d.tables, table)
	}
	d.doubt = nil
	return errors.Join(errs...)
}

// familyOf is the family of a frontend. What is of none will be refused there.
func familyOf(f vip.Frontend) *nft.Family {
	if f.Addr.Is4() {
		return nft.IPv4
	}
	return nft.IPv6
}

// Apply implements dataplane.Dataplane. A frontend with very many backends is written in parts.
func (d *Dataplane) Apply(ctx context.Context, changes []vip.Change) (time.Time, error) {
	if d.doubt != nil {
		return time.Time{}, fmt.Errorf("apply %d changes: it is not known what is in the kernel, Sync must come first: %w", len(changes), d.doubt)
	}
	var errs []error
	for _, f := range families {
		var ours []vip.Change
		for _, ch := range changes {
			if familyOf(ch.Frontend) == f {
				ours = append(ours, ch)
			}
		}
		if len(ours) == 0 {
			continue
		}
		err := d.applyTo(ctx, f, ours)
		if fatal(err) {
			d.doubt = d.explain(f, err)
			return time.Time{}, d.doubt
		}
		errs = append(errs, err)
	}
	return d.due(time.Now()), errors.Join(errs...)
}

func (d *Dataplane) applyTo(ctx context.Context, f *nft.Family, changes []vip.Change) error {
	for _, t := range d.tables {
		if t.Family == f {
			return t.apply(ctx, changes)
		}
	}
	var routes []*vip.Route
	for _, ch := range changes {
		if ch.New != nil {
			routes = append(routes, ch.New)
		}
	}
	return refuseAll(f, routes)
}

// refuseAll is the errors about the routes of a family that this kernel has no rules for.
func refuseAll(f *nft.Family, routes []*vip.Route) error {
	var errs []error
	for _, r := range routes {
		errs = append(errs, &dataplane.RouteError{Route: r, Err: fmt.Errorf("table %s: %w", f.Name, dataplane.ErrNotSupported)})
	}
	return errors.Join(errs...)
}

// fatal reports whether an error is more than routes that could not be programmed.
func fatal(err error) bool {
	switch e := err.(type) {
	case nil, *dataplane.RouteError:
		return false
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(e.Unwrap(), fatal)
	}
	return true
}

// Close implements dataplane.Dataplane.
func (d *Dataplane) Close() error { return d.conn.Close() }

// lookPeriod is the least time between two looks at the kernel. It is less than the period of Tick, which varies.
const lookPeriod = time.Second / 2

// Tick implements dataplane.Dataplane. It writes one transaction of what Apply left. About once a second it looks
// whether another program changed the tables, and removes what no frontend has needed for a while.
func (d *Dataplane) Tick(ctx context.Context, now time.Time) (dataplane.State, error) {
	if d.doubt != nil {
		return dataplane.State{Changed: true}, nil
	}
	if now.Sub(d.looked) >= lookPeriod {
		d.looked = now
		if intact, err := d.verify(); !intact || err != nil {
			return dataplane.State{Changed: err == nil, Unseen: err, Due: d.due(now)}, nil
		}
		for _, t := range d.tables {
			if err := t.tidy(); err != nil {
				d.doubt = d.explain(t.Family, err)
				return dataplane.State{}, d.doubt
			}
		}
	}
	err := d.proceed(ctx)
	return dataplane.State{Due: d.due(now)}, err
}

// verify reports whether the tables are as we left them.
func (d *Dataplane) verify() (bool, error) {
	if d.owns() {
		return d.stillOwned()
	}
	generation, err := d.conn.Generation()
	if err != nil || generation == d.expectedGeneration() {
		return err == nil, err
	}
	commits := d.conn.Commits()
	for _, t := range d.tables {
		if why, err := t.verify(); err != nil || why != "" {
			if why != "" {
				d.log.Warn("another program changed our rules", "table", t.id().String(), "change", why)
			}
			return false, err
		}
	}
	d.generation, d.commits = generation, commits
	return true, nil
}

// expectedGeneration is what the generation is if nobody but us changed anything:
// each commit advances it by one, and it skips 0.
func (d *Dataplane) expectedGeneration() uint32 {
	g := d.generation + (d.conn.Commits() - d.commits)
	if g < d.generation {
		g++
	}
	return g
}

// stillOwned asks whether both tables are there and ours.
func (d *Dataplane) stillOwned() (bool, error) {
	for _, t := range d.tables {
		found, err := d.conn.FindTable(t.id())
		if err != nil || found == nil || found.Handle != t.handle || found.Owner != d.conn.Port() {
			return false, err
		}
	}
	return true, nil
}

// verify says what in a table is not as we left it, or "". It compares all rules, and
// it counts elements, from Linux 6.15 on, but does not look at them.
func (t *table) verify() (why string, err error) {
	found, err := t.c.FindTable(t.id())
	if err != nil {
		return "", err
	}
	if found == nil || found.Handle != t.handle {
		return "the table is gone", nil
	}
	layout, err := findLayout(t.c, t.id())
	if err != nil {
		return "", err
	}
	there, why := t.difference(layout)
	if why == "" && !there.equal(t.made) {
		why = "there are other groups or classes than were made"
	}
	if why != "" {
		return why, nil
	}
	for _, s := range t.sets(t.made) {
		if n := layout.sets[s.Name].Count; !s.Dynamic && n >= 0 && n != t.elements[s] && !s.Interval {
			return fmt.Sprintf("%s has %d elements, expected %d", s.Name, n, t.elements[s]), nil
		}
	}
	return "", nil
}
