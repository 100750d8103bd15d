package nftables

import (
	"context"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/nft"
	"github.com/signpost-dns/signpost/internal/vip"
)

// unit is a list of operations of which none or all should be done.
type unit struct {
	route *vip.Route // whose they are; nil if they are nobody's
	have  installed  // what stays in the kernel if it refuses them
	ops   []op
	cut   bool // others of the same unit are written: all of these must be
}

// writer collects operations on the elements of a table and writes them in as few
// transactions as the socket allows. Each is a commit of its own; see layout.ops
// for why they may be cut anywhere.
type writer struct {
	ctx     context.Context
	c       *nft.Conn
	t       *table
	units   []unit
	bytes   int // of the units, and of the messages that they need
	room    int // for both in a transaction
	refused []error
	once    bool   // write only the first transaction of a unit that is too large for one
	left    []unit // what is not written because of that, in order
	lists   map[*set]*lists
	order   []*lists
	element nft.Element
}

// lists are the elements of one set in a transaction, as in a message.
type lists struct {
	set         *set
	drops, puts nft.Elements
	opened      listKind // those that the collected units need
}

// listKind says in which lists of a set an operation is.
type listKind uint8

const (
	dropList listKind = 1 << iota
	putList
)

// lists are those that an operation is in.
func (v verb) lists() listKind {
	return [...]listKind{put: putList, swap: dropList | putList, drop: dropList}[v]
}

// newWriter returns a writer for the sets that the table has now.
func newWriter(ctx context.Context, t *table) *writer {
	return &writer{ctx: ctx, c: t.c, t: t, lists: map[*set]*lists{}, room: t.c.Limit - edgeSize}
}

const (
	// messageSize is more than any message has beside its elements: headers and names.
	messageSize = 128
	// edgeSize is what the messages around a transaction have, and those that continue a list.
	edgeSize = 1 << 10
)

// add adds a unit, and writes what was collected before if both together are too much.
func (w *writer) add(u unit) error {
	if len(u.ops) == 0 {
		return nil
	}
	if len(w.left) > 0 {
		w.left = append(w.left, u)
		return nil
	}
	size := w.open(u.ops)
	if w.bytes+size > w.room {
		if err := w.flush(); err != nil {
			return err
		}
		size = w.open(u.ops)
	}
	if size <= w.room && !u.cut {
		w.units = append(w.units, u)
		w.bytes += size
		return nil
	}
	return w.addCut(u)
}

// open returns how many bytes operations add to a transaction: their own, and those of
// the messages for lists that it does not have yet.
func (w *writer) open(ops []op) int {
	size := 0
	var l *lists
	for i := range ops {
		o := &ops[i]
		size += o.size()
		if l == nil || l.set != o.set {
			l = w.listsOf(o.set)
		}
		size += bits.OnesCount8(uint8(o.lists()&^l.opened)) * messageSize
		l.opened |= o.lists()
	}
	return size
}

// close forgets which lists the collected units need.
func (w *writer) close() {
	for _, l := range w.order {
		l.opened = 0
	}
}

// listsOf are those of a set.
func (w *writer) listsOf(s *set) *lists {
	l := w.lists[s]
	if l == nil {
		l = &lists{set: s}
		w.lists[s] = l
		w.order = append(w.order, l)
	}
	return l
}

// addCut writes a unit that is too large for one transaction, in several.
func (w *writer) addCut(u unit) error {
	for begin := 0; begin < len(u.ops); {
		if w.once && begin > 0 {
			w.left = append(w.left, unit{route: u.route, ops: u.ops[begin:], cut: true})
			return nil
		}
		w.close()
		end, size := begin+1, w.open(u.ops[begin:begin+1])
		for end < len(u.ops) {
			if size += w.open(u.ops[end : end+1]); size > w.room {
				break
			}
			end++
		}
		w.units = append(w.units, unit{ops: u.ops[begin:end]})
		if err := w.flush(); err != nil {
			if u.route != nil {
				err = fmt.Errorf("programming %v for %v: %w", u.route.Frontend, u.route.Owner, err)
			}
			return err
		}
		begin = end
	}
	return nil
}

// flush writes what was collected.
func (w *writer) flush() error {
	err := w.commit(w.units)
	clear(w.units) // the routes
	w.close()
	w.units, w.bytes = w.units[:0], 0
	return err
}

// commit writes units in one transaction. If the kernel refuses, it tries the
// halves, down to the unit that is to blame.
func (w *writer) commit(units []unit) error {
	if len(units) == 0 {
		return nil
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	err := w.write(units)
	switch {
	case err == nil:
		w.t.count(units)
		return nil
	case !refused(err):
		return err
	case len(units) > 1:
		half := len(units) / 2
		if err := w.commit(units[:half]); err != nil {
			return err
		}
		return w.commit(units[half:])
	case units[0].route == nil:
		return err
	}
	w.refuse(units[0].route, units[0].have, err)
	return nil
}

// refuse notes that a route is not in the kernel, but something else.
func (w *writer) refuse(r *vip.Route, have installed, err error) {
	w.refused = append(w.refused, &dataplane.RouteError{Route: r, Err: err})
	w.t.behind[r.Frontend] = have
}

// report notes what is wrong with a route that is in the kernel nevertheless.
func (w *writer) report(errs []error) { w.refused = append(w.refused, errs...) }

// refusals joins what was refused, nil if nothing was.
func (w *writer) refusals() error {
	return errors.Join(w.refused...)
}

// refused reports whether the kernel objects to what is written, and not to who
// writes or when, or because it has something else than we think.
func refused(err error) bool {
	if _, ok := errors.AsType[*nft.Error](err); !ok {
		return false
	}
	for _, other := range []error{
		unix.EPERM, unix.ENOENT, unix.EEXIST, unix.EBUSY, unix.ENOMEM, unix.ENOBUFS, unix.EINTR, unix.EAGAIN,
	} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

// write sends units in one transaction: deletions first, because a key may be in both.
func (w *writer) write(units []unit) error {
	for _, l := range w.order {
		l.drops, l.puts = l.drops[:0], l.puts[:0]
	}
	for _, u := range units {
		for i := range u.ops {
			w.encode(&u.ops[i])
		}
	}
	tx := w.c.Begin()
	for _, l := range w.order {
		tx.DeleteElements(w.t.id(), &l.set.Set, l.drops)
	}
	for _, l := range w.order {
		tx.AddElements(w.t.id(), &l.set.Set, l.puts)
	}
	return w.c.Commit(tx)
}

func (w *writer) encode(o *op) {
	l := w.listsOf(o.set)
	o.set.element(&w.element, o.key, o.val)
	if o.verb != put {
		l.drops.Delete(&w.element)
	}
	if o.verb != drop {
		l.puts.Add(&w.element)
	}
}

// size is how many bytes the operation has in a message.
func (o *op) size() int {
	key := o.set.KeySize(o.key.end)
	if o.verb == drop {
		return key
	}
	size := key + o.set.ValueSize(len(o.val.comment))
	if o.verb == swap {
		size += key
	}
	return size
}
