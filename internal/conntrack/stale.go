package conntrack

import (
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Keep says of one frontend to which backends flows may go on; others are stale.
// None: the frontend is gone, or nobody serves it.
type Keep struct {
	Frontend vip.Frontend
	Backends []netip.AddrPort // not to be changed once passed
}

// flow is a tracked flow as far as it matters here.
type flow struct {
	dialled  netip.AddrPort // where the client sent its packet
	answerer netip.AddrPort // who is to answer: the backend, or dialled where no rule applied
}

// work is what to look for in the table, gathered from any number of calls.
type work struct {
	keep      map[vip.Frontend][]netip.AddrPort
	nodeAddrs []netip.Addr // that serve NodePorts, of the last call
}

func (w *work) add(nodeAddrs []netip.Addr, list []Keep) {
	if w.keep == nil {
		w.keep = map[vip.Frontend][]netip.AddrPort{}
	}
	w.nodeAddrs = nodeAddrs
	for _, k := range list {
		if k.Frontend.Protocol == cluster.UDP {
			w.keep[k.Frontend] = k.Backends
		}
	}
}

// later takes over what an earlier work could not finish, unless it was told anew.
func (w *work) later(earlier work) {
	if w.keep == nil {
		*w = earlier
		return
	}
	for f, backends := range earlier.keep {
		if _, told := w.keep[f]; !told {
			w.keep[f] = backends
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
	if backends, asked := w.keep[at]; asked {
		return !slices.Contains(backends, f.answerer)
	}
	if !slices.Contains(w.nodeAddrs, at.Addr) {
		return false
	}
	if at.Addr = vip.AnyNode6; f.dialled.Addr().Is4() {
		at.Addr = vip.AnyNode4
	}
	backends, asked := w.keep[at]
	return asked && !slices.Contains(backends, f.answerer)
}
