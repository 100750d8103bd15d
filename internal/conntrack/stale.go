package conntrack

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Keep says of one frontend to which backends flows may go on; others are stale.
// None: the frontend is gone, or has no backend. The lists are not to be changed once
// passed.
//
// Of a TCP frontend only connections are stale whose first packet has no answer yet:
// the client sends it again, and it meets the rules as they are then. What is established
// ends in TCP's own ways.
type Keep struct {
	Frontend vip.Frontend
	Backends []netip.AddrPort
	// Draining backends serve what goes on and take nothing new. A flow stays with them as long as it
	// is one: see over.
	Draining []netip.AddrPort
	// Untranslated says that only flows are stale that met no rule. Those that a rule translated go on,
	// whatever their backend.
	Untranslated bool
}

// flow is a tracked flow as far as it matters here.
type flow struct {
	protocol cluster.Protocol
	dialled  netip.AddrPort // where the client sent its packet
	answerer netip.AddrPort // who is to answer: the backend, or dialled where no rule applied
	// Of UDP: it was answered and went on for more than two seconds, so the kernel remembers it as a stream
	// (net/netfilter/nf_conntrack_proto_udp.c).
	assured bool
	left    uint32 // seconds until the kernel forgets it; 0: not known
	// Of TCP: the first packet was sent, and nothing came back.
	halfOpen bool
	// Of TCP: it came about, and neither end has ended it.
	established bool
	// Another answers than was dialled, although no rule says so: IPVS leads it.
	led bool
}

// work is what to look for in the table, gathered from any number of calls.
type work struct {
	keep      map[vip.Frontend]Keep
	nodeAddrs []netip.Addr // that serve NodePorts, of the last call

	remembers timeouts              // of the kernel
	draining  map[vip.Frontend]bool // that flows were seen of which may be over soon
}

// timeouts are for how many seconds the kernel remembers a UDP flow on which nothing is sent; 0: not known.
type timeouts struct{ unassured, stream uint32 }

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

// later takes over what an earlier work could not finish, unless it was told anew.
func (w *work) later(earlier work) {
	if w.keep == nil {
		*w = earlier
		return
	}
	for f, k := range earlier.keep {
		if _, told := w.keep[f]; !told {
			w.keep[f] = k
		}
	}
}

func (w *work) empty() bool { return len(w.keep) == 0 }

// isTracked reports whether flows of a protocol are ever stale.
func isTracked(p cluster.Protocol) bool { return p == cluster.UDP || p == cluster.TCP }

// part is what one reading of the kernel's table brings.
type part struct {
	v6         bool
	protocol   cluster.Protocol
	unanswered bool // only flows without an answer
}

// parts tells which of them there is something to look for in, in an order of their own.
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

// stale reports whether a flow must go. A NodePort is one only on the addresses that
// serve them: the same port elsewhere is somebody else's.
func (w *work) stale(f flow) bool {
	if f.protocol == cluster.TCP && !f.halfOpen {
		return false
	}
	at := vip.Frontend{Addr: f.dialled.Addr(), Port: f.dialled.Port(), Protocol: f.protocol}
	if k, asked := w.keep[at]; asked {
		return !w.allows(k, f)
	}
	if !slices.Contains(w.nodeAddrs, at.Addr) {
		return false
	}
	if at.Addr = vip.AnyNode6; f.dialled.Addr().Is4() {
		at.Addr = vip.AnyNode4
	}
	k, asked := w.keep[at]
	return asked && !w.allows(k, f)
}

func (w *work) allows(k Keep, f flow) bool {
	if k.Untranslated {
		return f.answerer != f.dialled
	}
	if slices.Contains(k.Backends, f.answerer) {
		return true
	}
	if !slices.Contains(k.Draining, f.answerer) || w.over(f) {
		return false
	}
	if mayBeOver(f) {
		if w.draining == nil {
			w.draining = map[vip.Frontend]bool{}
		}
		w.draining[k.Frontend] = true
	}
	return true
}

// dns is the port of DNS, which has no sessions over UDP: each question stands alone. A client that asks much
// takes a port again that it has used, and its new question would go to a backend that may end before it answers.
const dns = 53

// silence is for how many seconds a client of DNS waits for an answer at least. CoreDNS drains for five seconds; by
// then all flows to it must be over.
const silence = 2

// mayBeOver reports whether a flow is over once it is silent. Every other one is over when the kernel forgets it.
func mayBeOver(f flow) bool { return f.protocol == cluster.UDP && f.dialled.Port() == dns }

// over reports whether no answer is under way any more. Each packet sets back the time until the kernel forgets a
// flow, which is known in whole seconds: one less than all of it from the next tick of the kernel's clock on.
func (w *work) over(f flow) bool {
	all := w.remembers.unassured
	if f.assured {
		all = w.remembers.stream
	}
	return mayBeOver(f) && f.left > 0 && f.left+silence < all
}

// unfinished is the work that draining backends leave: to look again when more flows are over.
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
