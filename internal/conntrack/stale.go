package conntrack

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Keep says of one frontend to which backends flows may go on; others are stale.
// None: the frontend is gone, or nobody serves it. The lists are not to be changed once
// passed.
type Keep struct {
	Frontend vip.Frontend
	Backends []netip.AddrPort
	// Draining backends serve what goes on and take nothing new. A stream may stay with
	// them; a question that is answered (DNS) is over, and its client may use the port for
	// another one: that is new, and would find nobody when the backend ends.
	Draining []netip.AddrPort
}

// flow is a tracked flow as far as it matters here.
type flow struct {
	dialled  netip.AddrPort // where the client sent its packet
	answerer netip.AddrPort // who is to answer: the backend, or dialled where no rule applied
	// The kernel saw an answer, and nothing that went on for two seconds after it
	// (net/netfilter/nf_conntrack_proto_udp.c).
	over bool
}

// work is what to look for in the table, gathered from any number of calls.
type work struct {
	keep      map[vip.Frontend]Keep
	nodeAddrs []netip.Addr // that serve NodePorts, of the last call
}

func (w *work) add(nodeAddrs []netip.Addr, list []Keep) {
	if w.keep == nil {
		w.keep = map[vip.Frontend]Keep{}
	}
	w.nodeAddrs = nodeAddrs
	for _, k := range list {
		if k.Frontend.Protocol == cluster.UDP {
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

// families tells in which there is something to look for.
func (w *work) families() (v4, v6 bool) {
	for f := range w.keep {
		v4, v6 = v4 || f.Addr.Is4(), v6 || f.Addr.Is6()
	}
	return v4, v6
}

// stale reports whether a flow must go. A NodePort is one only on the addresses that
// serve them: the same port elsewhere is somebody else's.
func (w *work) stale(f flow) bool {
	at := vip.Frontend{Addr: f.dialled.Addr(), Port: f.dialled.Port(), Protocol: cluster.UDP}
	if k, asked := w.keep[at]; asked {
		return !k.allows(f)
	}
	if !slices.Contains(w.nodeAddrs, at.Addr) {
		return false
	}
	if at.Addr = vip.AnyNode6; f.dialled.Addr().Is4() {
		at.Addr = vip.AnyNode4
	}
	k, asked := w.keep[at]
	return asked && !k.allows(f)
}

func (k Keep) allows(f flow) bool {
	return slices.Contains(k.Backends, f.answerer) || !f.over && slices.Contains(k.Draining, f.answerer)
}
