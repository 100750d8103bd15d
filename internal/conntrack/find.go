package conntrack

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Tracked is how many flows to a frontend lead to one place.
type Tracked struct {
	To       netip.AddrPort // a backend; the frontend itself where no rule translated them
	Flows    int
	HalfOpen int // of these, the TCP connections whose first packet nobody has answered
}

// Find reads which flows to a frontend the kernel tracks, in the network namespace of the
// calling thread, by address. nodeAddrs are those that serve NodePorts. Of protocols other
// than UDP and TCP it finds none.
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
