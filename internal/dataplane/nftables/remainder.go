package nftables

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/vip"
)

// remainder is what one Apply left, because a frontend has so many backends that their
// operations do not fit into one transaction. Changes of other Services are written before it.
// Operations may be cut anywhere (layout.ops), so packets never notice.
type remainder struct {
	touched
	units []unit
	done  func()
}

// touched is what changes are about. Changes that share none of it can be written in any order.
type touched struct {
	frontends map[vip.Frontend]bool
	owners    map[*owner]bool
	pods      map[netip.Addr]int // keys: those with a hairpin element
}

// due returns the time at which a remainder can be written, which is now, or the zero time without one.
func (d *Dataplane) due(now time.Time) time.Time {
	if d.unfinished() {
		return now
	}
	return time.Time{}
}

func (d *Dataplane) unfinished() bool {
	return slices.ContainsFunc(d.tables, func(t *table) bool { return len(t.unfinished) > 0 })
}

// proceed writes one transaction of a remainder, if there is one.
func (d *Dataplane) proceed(ctx context.Context) error {
	for _, t := range d.tables {
		if len(t.unfinished) == 0 {
			continue
		}
		err := t.proceed(ctx)
		if fatal(err) {
			d.doubt = d.explain(t.Family, err)
			return d.doubt
		}
		return err
	}
	return nil
}

// proceed writes one transaction of the oldest remainder.
func (t *table) proceed(ctx context.Context) error {
	r := t.unfinished[0]
	w := newWriter(ctx, t)
	w.once = true
	for _, u := range r.units {
		if err := w.add(u); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	if r.units = w.left; len(r.units) == 0 {
		r.done()
		t.unfinished = t.unfinished[1:]
	}
	return w.refusals()
}

// finishFor writes all remainders if one of them shares something with the changes: these start
// from what it ends with.
func (t *table) finishFor(ctx context.Context, changes touched) error {
	if !slices.ContainsFunc(t.unfinished, func(r *remainder) bool { return r.overlaps(changes) }) {
		return nil
	}
	var errs []error
	for len(t.unfinished) > 0 {
		err := t.proceed(ctx)
		if fatal(err) {
			return err
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// touch returns what changes are about.
func touch(changes []vip.Change, u *use) touched {
	t := touched{map[vip.Frontend]bool{}, u.owners, u.pods}
	for _, ch := range changes {
		t.frontends[ch.Frontend] = true
	}
	return t
}

func (t touched) overlaps(o touched) bool {
	return overlap(t.frontends, o.frontends) || overlap(t.owners, o.owners) || overlap(t.pods, o.pods)
}

func overlap[K comparable, V any](a, b map[K]V) bool {
	for k := range a {
		if _, ok := b[k]; ok {
			return true
		}
	}
	return false
}
