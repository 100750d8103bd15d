package conntrack

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Tracked counts the flows to a frontend that reach the same destination.
type Tracked struct {
	To       netip.AddrPort // a backend, or the frontend itself for untranslated flows
	Flows    int
	HalfOpen int // TCP connections among them whose first packet has no reply
}

// Find reads the flows to a frontend that the kernel tracks, in the network namespace of the
// calling thread, and returns them by destination. nodeAddrs are the addresses that serve
// NodePorts. It finds UDP and TCP only.
func Find(f vip.Frontend, nodeAddrs []netip.Addr) ([]Tracked, error) {
	if !isTracked(f.Protocol) {
		return nil, nil
	}
	c, err := open()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	var out []Tracked
	err = c.execute(dumpRequest(part{v6: f.Addr.Is6(), protocol: f.Protocol}), func(message []byte) bool {
		e, ok := parse(message)
		to := e.dialled.Addr() == f.Addr || f.IsNodePort() && slices.Contains(nodeAddrs, e.dialled.Addr())
		if !ok || e.protocol != f.Protocol || !to || e.dialled.Port() != f.Port {
			return true
		}
		i := slices.IndexFunc(out, func(t Tracked) bool { return t.To == e.answerer })
		if i < 0 {
			i = len(out)
			out = append(out, Tracked{To: e.answerer})
		}
		out[i].Flows++
		if e.halfOpen {
			out[i].HalfOpen++
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("reading the tracked flows: %w", err)
	}
	slices.SortFunc(out, func(a, b Tracked) int { return a.To.Compare(b.To) })
	return out, nil
}
