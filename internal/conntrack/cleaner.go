package conntrack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// settle is how long after the rules the flows are looked at. A packet that met
	// the rules before is tracked by then, and what changes meanwhile comes together.
	settle = 10 * time.Millisecond
	// share keeps reading the table below 1/share of one processor's time.
	share = 5
	// drainLook is the pause between looks at the flows of backends that drain, and at least
	// so many times what a look took.
	drainLook, drainShare = 500 * time.Millisecond, 4
	// again is the pause before another attempt after an error.
	again = 5 * time.Second
	// batch is how many flows are gathered, at a hundred bytes or so each, before they are
	// removed and the table is read again: a client may leave millions.
	batch = 1 << 15
)

// Result is what one look at the table of a family and a protocol came to.
type Result struct {
	IPv6    bool // else IPv4
	Took    time.Duration
	Removed int
	Err     error // the work is not lost: it is done with the next
}

// Cleaner removes stale flows. Make one with New and start Run.
type Cleaner struct {
	socket *nl.SocketHandle
	report func(Result)
	wake   chan struct{}
	batch  int

	unassured, stream setting // for how long the kernel remembers UDP flows

	wait time.Duration // until pending is done though nobody asks; 0: not at all. Run's alone

	mu      sync.Mutex
	pending work
}

// New opens ctnetlink in the network namespace of the calling thread; report, which
// may be nil, is called from Run's goroutine.
func New(report func(Result)) (*Cleaner, error) {
	c, err := open()
	if err != nil {
		return nil, err
	}
	if report == nil {
		report = func(Result) {}
	}
	c.report, c.wake = report, make(chan struct{}, 1)
	c.unassured.name, c.stream.name = "nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"
	c.unassured.open()
	c.stream.open()
	return c, nil
}

// Close frees the socket; Run must have ended.
func (c *Cleaner) Close() {
	c.socket.Socket.Close()
	c.unassured.close()
	c.stream.close()
}

// Clean asks to look at these frontends; it does not wait. nodeAddrs are the addresses
// of this node that serve NodePorts, not to be changed afterwards. Frontends
// that are neither UDP nor TCP are passed over.
func (c *Cleaner) Clean(nodeAddrs []netip.Addr, list []Keep) {
	c.mu.Lock()
	c.pending.add(nodeAddrs, list)
	empty := c.pending.empty()
	c.mu.Unlock()
	if !empty {
		c.poke()
	}
}

func (c *Cleaner) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx is done. What it was asked while it read the table is done
// together, with one more reading.
func (c *Cleaner) Run(ctx context.Context) {
	pause := settle
	for {
		var look <-chan time.Time
		if c.wait > 0 {
			look = time.After(c.wait)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-look:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = c.once()
	}
}

// once does what waits and returns how long to rest.
func (c *Cleaner) once() time.Duration {
	c.mu.Lock()
	w := c.pending
	c.pending = work{}
	c.mu.Unlock()
	c.wait = 0
	if w.empty() {
		return settle
	}
	start := time.Now()
	w.remembers = timeouts{unassured: c.unassured.seconds(), stream: c.stream.seconds()}
	if err := c.remove(&w); err != nil {
		c.mu.Lock()
		c.pending.later(w)
		c.mu.Unlock()
		c.poke()
		return again
	}
	took := time.Since(start)
	if rest := w.unfinished(); !rest.empty() {
		c.wait = max(drainLook, took*drainShare)
		c.mu.Lock()
		c.pending.later(rest)
		c.mu.Unlock()
	}
	return max(settle, took*(share-1))
}

func (c *Cleaner) remove(w *work) (err error) {
	for _, p := range w.parts() {
		start, n, more := time.Now(), 0, true
		var failed error
		for more && failed == nil {
			var some int
			some, more, failed = c.removeFrom(p, w.stale)
			n += some
		}
		c.report(Result{IPv6: p.v6, Took: time.Since(start), Removed: n, Err: failed})
		err = errors.Join(err, failed)
	}
	return err
}

// removeFrom reads a part of the table once and removes what must go from it; more: not all
// of that, for it is a lot.
func (c *Cleaner) removeFrom(p part, must func(flow) bool) (removed int, more bool, err error) {
	var found []entry
	err = c.execute(dumpRequest(p), func(message []byte) bool {
		e, ok := parse(message)
		if !ok || e.protocol != p.protocol || !must(e.flow) {
			return true
		}
		if len(found) == c.batch {
			more = true
			return true // the rest is read all the same: the socket must be empty
		}
		e.tuple, e.id = bytes.Clone(e.tuple), bytes.Clone(e.id)
		found = append(found, e)
		return true
	})
	if err != nil {
		err = fmt.Errorf("reading the tracked flows: %w", err)
	}
	for _, e := range found {
		failed := c.execute(deleteRequest(p.family(), e), func([]byte) bool { return true })
		switch {
		case failed == nil:
			removed++
		case errors.Is(failed, fs.ErrNotExist): // it ended meanwhile
		default:
			err = errors.Join(err, fmt.Errorf("removing the flow to %v, answered by %v: %w", e.dialled, e.answerer, failed))
		}
	}
	return removed, more && removed > 0, err
}

func (c *Cleaner) execute(r *nl.NetlinkRequest, f func([]byte) bool) error {
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: c.socket}
	return r.ExecuteIter(unix.NETLINK_NETFILTER, 0, f)
}
