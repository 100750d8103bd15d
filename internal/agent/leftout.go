package agent

import (
	"fmt"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// leftOut is what Services claim and do not get, by Service, and the sum.
type leftOut struct {
	of  map[cluster.Key]vip.Room
	sum vip.Room
}

func newLeftOut() leftOut { return leftOut{of: map[cluster.Key]vip.Room{}} }

// set replaces what is left out of a Service, and reports whether anything is since.
func (l *leftOut) set(service cluster.Key, now vip.Room) (begins bool) {
	before := l.of[service]
	l.sum.Frontends += now.Frontends - before.Frontends
	l.sum.Backends += now.Backends - before.Backends
	if now == (vip.Room{}) {
		delete(l.of, service)
		return false
	}
	l.of[service] = now
	return before == vip.Room{}
}

// short notes what a Service that was built does not get. It tells of it once.
func (a *Agent) short(service cluster.Key, e *cluster.Entry, room vip.Room) {
	left := vip.ClaimOf(e).Without(room)
	if left == a.leftOut.of[service] {
		return
	}
	if a.leftOut.set(service, left) {
		a.Log.Warn("a Service or its namespace has too many frontends or backends; some are left out on all nodes",
			"service", service.String(), "frontends", left.Frontends, "backends", left.Backends)
		a.event(service, "LeftOut", fmt.Sprintf("%d frontends and %d backends are routed on no node. A frontend has at most %d backends, "+
			"a Service at most %d frontends, and all Services %d frontends and %d backends; beyond that the newest Services of the largest namespace get less",
			left.Frontends, left.Backends, vip.MaxBackends, vip.MaxFrontends, vip.NodeRoom.Frontends, vip.NodeRoom.Backends))
	}
	a.Metrics.leftOut.WithLabelValues("frontends").Set(float64(a.leftOut.sum.Frontends))
	a.Metrics.leftOut.WithLabelValues("backends").Set(float64(a.leftOut.sum.Backends))
}
