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
	// settle is the delay between writing rules and reading the flows. Packets that met the old
	// rules are tracked by then, and changes that arrive meanwhile share one reading.
	settle = 10 * time.Millisecond
	// share limits reading the table to 1/share of one CPU's time.
	share = 5
	// drainLook is the pause between checks of the flows of draining backends; it is at least
	// drainShare times the duration of a check.
	drainLook, drainShare = 500 * time.Millisecond, 4
	// again is the pause before a retry after an error.
	again = 5 * time.Second
	// batch is the number of flows to collect, at about a hundred bytes each, before they are
	// removed and the table is read again: a client can leave millions.
	batch = 1 << 15
)

// Result is the result of reading the table of a family and a protocol once.
type Result struct {
	IPv6    bool // false means IPv4
	Took    time.Duration
	Removed int
	Err     error // the next run repeats the work
}

// Cleaner removes stale flows. Create one with New and start Run.
type Cleaner struct {
	socket *nl.SocketHandle
	report func(Result)
	wake   chan struct{}
	batch  int

	unassured, stream setting // the kernel's timeouts of UDP flows

	wait time.Duration // until pending is processed without a call of Clean; 0: never. Only Run uses it

	mu      sync.Mutex
	pending work
}

// New opens ctnetlink in the network namespace of the calling thread. Run calls report,
// which may be nil, from its goroutine.
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

// Close closes the socket. Run must have returned.
func (c *Cleaner) Close() {
	c.socket.Socket.Close()
	c.unassured.close()
	c.stream.close()
}

// Clean queues a check of the flows to these frontends; it does not block. nodeAddrs are
// the addresses of this node that serve NodePorts; the caller must not change them
// afterwards. Frontends that are neither UDP nor TCP are ignored.
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

// Run processes the queue until ctx is done. What is queued during a reading of the table
// shares the next reading.
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

// once processes the queue and returns the pause before the next run.
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

// removeFrom reads a part of the table once and removes matching flows from it. more reports that
// flows are left because there were too many for one batch.
func (c *Cleaner) removeFrom(p part, must func(flow) bool) (removed int, more bool, err error) {
	var found []entry
	err = c.execute(dumpRequest(p), func(message []byte) bool {
		e, ok := parse(message)
		if !ok || e.protocol != p.protocol || !must(e.flow) {
			return true
		}
		if len(found) == c.batch {
			more = true
			return true // read the rest anyway: the socket must be empty for the next request
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
		case errors.Is(failed, fs.ErrNotExist): // the flow ended meanwhile
		default:
			err = errors.Join(err, fmt.Errorf("remove the flow to %v with replies from %v: %w", e.dialled, e.answerer, failed))
		}
	}
	return removed, more && removed > 0, err
}

func (c *Cleaner) execute(r *nl.NetlinkRequest, f func([]byte) bool) error {
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: c.socket}
	return r.ExecuteIter(unix.NETLINK_NETFILTER, 0, f)
}
