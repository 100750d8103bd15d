package conntrack

import (
	"net/netip"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Which UDP flows a backend may keep that drains.

// answering is for how long after a backend began to drain its clients may wait for answers: who
// asked within the last second keeps the flow. After that it is more than an answer
// that such a client waits for, and it is better led to a backend that stays.
const answering = 2 * time.Second

// silence is for how many seconds a UDP flow may be silent before it counts as over. A client
// that asks much uses a port again after some seconds, and what the kernel takes for a stream
// then are questions that have nothing to do with each other.
const silence = 1

// dns is the port of DNS, which has no streams over UDP: a moment of silence is enough there.
// CoreDNS drains for five seconds; by then all that ask must be with others.
const dns = 53

// isOver reports whether a UDP flow to a backend that drains is over. Each packet sets back the time
// until the kernel forgets it, which is told in whole seconds: one less than all of it is told
// from the next tick of the kernel's clock on.
func (w *work) isOver(f flow, fresh bool) bool {
	if f.protocol != cluster.UDP {
		return false
	}
	most, timeout := uint32(silence), w.timeouts.stream
	if !f.stream {
		timeout = w.timeouts.flow
	}
	if !fresh {
		if f.answered && !f.stream {
			return true
		}
		if f.dialled.Port() == dns {
			most = 0
		}
	}
	return f.left > 0 && f.left+most < timeout
}

// timeouts are for how many seconds the kernel remembers a silent UDP flow, and one that is a
// stream; 0: not known.
type timeouts struct{ flow, stream uint32 }

// drainer is a backend that drains.
type drainer struct {
	frontend vip.Frontend
	backend  netip.AddrPort
}

// drains remembers since when backends drain.
type drains map[vip.Frontend]map[netip.AddrPort]time.Time

// told takes note of what drains now.
func (d drains) told(now time.Time, list []Keep) {
	for _, k := range list {
		before := d[k.Frontend]
		delete(d, k.Frontend)
		if len(k.Draining) == 0 {
			continue
		}
		d[k.Frontend] = make(map[netip.AddrPort]time.Time, len(k.Draining))
		for _, b := range k.Draining {
			since, drained := before[b]
			if !drained {
				since = now
			}
			d[k.Frontend][b] = since
		}
	}
}

// fresh are those of some frontends that drain for less than answering.
func (d drains) fresh(now time.Time, keep map[vip.Frontend]Keep) map[drainer]bool {
	out := map[drainer]bool{}
	for f := range keep {
		for b, since := range d[f] {
			if now.Sub(since) < answering {
				out[drainer{f, b}] = true
			}
		}
	}
	return out
}

// unfinished is the work that draining backends leave: to look again when more is over.
func (w *work) unfinished() work {
	next := work{nodeAddrs: w.nodeAddrs}
	for f := range w.draining {
		if next.keep == nil {
			next.keep = map[vip.Frontend]Keep{}
		}
		next.keep[f] = w.keep[f]
	}
	return next
}
