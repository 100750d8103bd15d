package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// settle is the delay between writing rules and reading the flows. Packets that met the old
	// rules are tracked by then, and changes that arrive meanwhile share one reading.
	settle = 10 * time.Millisecond
	// share limits the Cleaner to 1/share of one CPU's time.
	share = 5
	// drainLook is the pause between checks of the flows of draining backends.
	drainLook = 500 * time.Millisecond
	// together is the number of requests in one message to the kernel. The kernel replies to each that fails, and the
	// socket's buffer must hold these replies.
	together = 100
	// again is the pause before a retry after an error.
	again = 5 * time.Second
	// batch is the number of flows to collect, at about a hundred bytes each, before they are
	// removed and the table is read again: a client can leave millions.
	batch = 1 << 15
)

// Result is the result of reading the table of a family and a protocol once.
type Result struct {
	IPv6      bool // false means IPv4
	Took      time.Duration
	Removed   int
	Shortened int   // flows of DNS that the kernel removes once they are silent
	Err       error // the next run repeats the work
}

// Cleaner removes stale flows. Create one with New and start Run.
type Cleaner struct {
	socket *nl.SocketHandle
	report func(Result)
	wake   chan struct{}
	batch  int

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
	return c, nil
}

// Close closes the socket. Run must have returned.
func (c *Cleaner) Close() { c.socket.Socket.Close() }

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
	runtime.LockOSThread() // cpuTime is that of a thread
	defer runtime.UnlockOSThread()
	rested := time.Now()
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
		case <-time.After(max(settle, time.Until(rested))):
		}
		rested = time.Now().Add(c.once())
	}
}

// once processes the queue and returns the pause before the next run. The pause follows from the CPU time and not from
// the wall clock: on a busy node a check may take two seconds, and a draining CoreDNS would end during a pause of eight.
func (c *Cleaner) once() time.Duration {
	c.mu.Lock()
	w := c.pending
	c.pending = work{}
	c.mu.Unlock()
	c.wait = 0
	if w.empty() {
		return 0
	}
	start := cpuTime()
	if err := c.remove(&w); err != nil {
		c.mu.Lock()
		c.pending.later(w)
		c.mu.Unlock()
		c.poke()
		return again
	}
	if rest := w.unfinished(); !rest.empty() {
		c.wait = drainLook
		c.mu.Lock()
		c.pending.later(rest)
		c.mu.Unlock()
	}
	return (cpuTime() - start) * (share - 1)
}

// cpuTime returns the CPU time of the calling thread.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func (c *Cleaner) remove(w *work) (err error) {
	for _, p := range w.parts() {
		start, more := time.Now(), true
		r := Result{IPv6: p.v6}
		for more && r.Err == nil {
			var some Result
			some, more, r.Err = c.sweep(p, w.judge)
			r.Removed += some.Removed
			r.Shortened += some.Shortened
		}
		r.Took = time.Since(start)
		c.report(r)
		err = errors.Join(err, r.Err)
	}
	return err
}

// sweep reads a part of the table once and does with each flow what judge returns. more reports that
// flows are left because there were too many for one batch.
func (c *Cleaner) sweep(p part, judge func(flow) verdict) (done Result, more bool, err error) {
	found := map[verdict][]entry{}
	err = c.execute(dumpRequest(p), func(message []byte) bool {
		e, ok := parse(message)
		if !ok || e.protocol != p.protocol {
			return true
		}
		what := judge(e.flow)
		if what == keepFlow {
			return true
		}
		if len(found[removeFlow])+len(found[shortenFlow]) == c.batch {
			more = true
			return true // read the rest anyway: the socket must be empty for the next request
		}
		found[what] = append(found[what], e.clone())
		return true
	})
	if err != nil {
		err = fmt.Errorf("reading the tracked flows: %w", err)
	}
	var failed error
	if done.Shortened, failed = c.write(p.family(), found[shortenFlow], shortenRequest); failed != nil {
		err = errors.Join(err, fmt.Errorf("shorten %w", failed))
	}
	if done.Removed, failed = c.write(p.family(), found[removeFlow], deleteRequest); failed != nil {
		err = errors.Join(err, fmt.Errorf("remove %w", failed))
	}
	return done, more && done.Removed+done.Shortened > 0, err
}

// write sends one request for each flow and returns the number of flows that were changed. A flow that has ended meanwhile
// is no error. The error is the first one.
func (c *Cleaner) write(family uint8, list []entry, request func(uint8, entry) *nl.NetlinkRequest) (changed int, err error) {
	for some := range slices.Chunk(list, together) {
		var messages []byte
		first := c.socket.Seq + 1
		for i, e := range some {
			r := request(family, e)
			c.socket.Seq++
			r.Seq = c.socket.Seq
			if i == len(some)-1 {
				r.Flags |= unix.NLM_F_ACK // without it, the kernel replies only to a request that fails
			}
			messages = append(messages, r.Serialize()...)
		}
		if err := unix.Sendto(c.socket.Socket.GetFd(), messages, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return changed, fmt.Errorf("%d flows: %w", len(some), err)
		}
		n, failed := c.replies(first, some)
		changed += n
		if err == nil {
			err = failed
		}
	}
	return changed, err
}

// replies reads the kernel's replies to one request for each flow, and returns how many requests succeeded. first is the
// sequence number of the first one. The last one always has a reply.
func (c *Cleaner) replies(first uint32, list []entry) (succeeded int, err error) {
	succeeded = len(list)
	for {
		messages, _, failed := c.socket.Socket.Receive()
		if failed != nil {
			return 0, fmt.Errorf("%d flows: %w", len(list), failed)
		}
		for _, m := range messages {
			i := int64(m.Header.Seq) - int64(first)
			if m.Header.Type != unix.NLMSG_ERROR || len(m.Data) < 4 || i < 0 || i >= int64(len(list)) {
				continue
			}
			if errno := unix.Errno(-int32(nl.NativeEndian().Uint32(m.Data))); errno != 0 {
				succeeded--
				if ended := errno == unix.ENOENT || errno == unix.ETIME; !ended && err == nil {
					err = fmt.Errorf("the flow to %v with replies from %v: %w", list[i].dialled, list[i].answerer, errno)
				}
			}
			if i == int64(len(list))-1 {
				return succeeded, err
			}
		}
	}
}

func (c *Cleaner) execute(r *nl.NetlinkRequest, f func([]byte) bool) error {
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: c.socket}
	return r.ExecuteIter(unix.NETLINK_NETFILTER, 0, f)
}
