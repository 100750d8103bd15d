package conntrack

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Keep says which backends may keep the flows of one frontend; all other flows are stale.
// Without backends the frontend is gone, or has none. The caller must not change the lists
// afterwards.
//
// Of a TCP frontend, only connections without a reply are stale: the client sends the first packet
// again, and it meets the present rules. An established connection ends by itself.
type Keep struct {
	Frontend vip.Frontend
	Backends []netip.AddrPort
	// Draining backends serve their flows and get no new ones. A flow of DNS stays with them until it is silent, any
	// other flow as long as they drain.
	Draining []netip.AddrPort
	// Untranslated says that only flows are stale that met no rule.
	Untranslated bool

	// again marks a repeated check of the flows to Draining. The other flows stay: since the first check, new
	// backends may have got some.
	again bool
}

// flow is the part of a tracked flow that the package uses.
type flow struct {
	protocol cluster.Protocol
	dialled  netip.AddrPort // the destination of the client's packets
	answerer netip.AddrPort // the source of the replies: the backend, or dialled if no rule applied
	answered bool           // the kernel has seen a reply
	left     uint32         // seconds until the kernel removes it
	// TCP: the first packet was sent and has no reply.
	halfOpen bool
	// TCP: the handshake is complete, and neither end has closed it.
	established bool
	// IPVS handles it: the replies come from another address, although no rule says so.
	led bool
}

// verdict is what the Cleaner does with a flow.
type verdict int

const (
	keepFlow verdict = iota
	removeFlow
	// shortenFlow makes the kernel remove the flow after silence, unless a packet comes before. A removal by the Cleaner
	// could come between a query and its reply, which the kernel would then send to the client untranslated.
	shortenFlow
)

// work is a queue of checks, collected from any number of calls.
type work struct {
	keep      map[vip.Frontend]Keep
	nodeAddrs []netip.Addr // serve NodePorts; from the last call

	draining map[vip.Frontend]bool // have flows of DNS to draining backends
}

func (w *work) add(nodeAddrs []netip.Addr, list []Keep) {
	if w.keep == nil {
		w.keep = map[vip.Frontend]Keep{}
	}
	w.nodeAddrs = nodeAddrs
	for _, k := range list {
		if isTracked(k.Frontend.Protocol) {
			w.keep[k.Frontend] = k
		}
	}
}

// later adds what an earlier work could not finish, unless a newer check replaces it.
func (w *work) later(earlier work) {
	if w.keep == nil {
		*w = earlier
		return
	}
	for f, k := range earlier.keep {
		if _, newer := w.keep[f]; !newer {
			w.keep[f] = k
		}
	}
}

func (w *work) empty() bool { return len(w.keep) == 0 }

// isTracked reports whether flows of a protocol can be stale.
func isTracked(p cluster.Protocol) bool { return p == cluster.UDP || p == cluster.TCP }

// part is what one reading of the kernel's table returns.
type part struct {
	v6         bool
	protocol   cluster.Protocol
	unanswered bool // only flows without a reply
}

// parts returns the parts that the work needs, in a fixed order.
func (w *work) parts() []part {
	var out []part
	for f := range w.keep {
		if p := (part{f.Addr.Is6(), f.Protocol, f.Protocol == cluster.TCP}); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b part) int {
		if a.v6 != b.v6 {
			return map[bool]int{false: -1, true: 1}[a.v6]
		}
		return int(b.protocol) - int(a.protocol) // UDP before TCP
	})
	return out
}

// judge returns what to do with a flow. A NodePort counts only on the addresses that
// serve NodePorts: elsewhere the same port belongs to another program.
func (w *work) judge(f flow) verdict {
	if f.protocol == cluster.TCP && !f.halfOpen {
		return keepFlow
	}
	at := vip.Frontend{Addr: f.dialled.Addr(), Port: f.dialled.Port(), Protocol: f.protocol}
	if k, there := w.keep[at]; there {
		return w.judgeBy(k, f)
	}
	if !slices.Contains(w.nodeAddrs, at.Addr) {
		return keepFlow
	}
	if at.Addr = vip.AnyNode6; f.dialled.Addr().Is4() {
		at.Addr = vip.AnyNode4
	}
	if k, there := w.keep[at]; there {
		return w.judgeBy(k, f)
	}
	return keepFlow
}

func (w *work) judgeBy(k Keep, f flow) verdict {
	switch {
	case k.Untranslated && f.answerer != f.dialled, slices.Contains(k.Backends, f.answerer):
		return keepFlow
	case !slices.Contains(k.Draining, f.answerer):
		if k.again {
			return keepFlow
		}
		return removeFlow
	case f.protocol != cluster.UDP || f.dialled.Port() != dns:
		return keepFlow
	}
	if w.draining == nil {
		w.draining = map[vip.Frontend]bool{}
	}
	w.draining[k.Frontend] = true
	// A client without a reply may wait longer than silence: CoreDNS asks another server for it.
	if !f.answered || f.left <= silence {
		return keepFlow
	}
	return shortenFlow
}

// dns is the port of DNS, which has no sessions over UDP: each query stands alone. A client with many queries soon uses
// a port again, and a new query must not reach a backend that ends before it replies.
const dns = 53

// silence is the number of seconds without a packet after which the kernel removes a flow of DNS to a draining backend.
// CoreDNS drains for five seconds by default. A flow that is left then was used in each of these seconds.
const silence = 1

// unfinished returns the checks to repeat: those of frontends with flows of DNS to draining backends.
func (w *work) unfinished() work {
	next := work{nodeAddrs: w.nodeAddrs}
	for f := range w.draining {
		if next.keep == nil {
			next.keep = map[vip.Frontend]Keep{}
		}
		k := w.keep[f]
		k.again = true
		next.keep[f] = k
	}
	return next
}
