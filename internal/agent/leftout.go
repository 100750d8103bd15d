package agent

import (
	"fmt"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// leftOut records how many frontends and backends each Service claims without getting them, and the sums.
type leftOut struct {
	of  map[cluster.Key]vip.Room
	sum vip.Room
}

func newLeftOut() leftOut { return leftOut{of: map[cluster.Key]vip.Room{}} }

// set replaces the record of a Service and reports whether the Service had none before.
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

// short records what a Service does not get. It reports each Service once.
func (a *Agent) short(service cluster.Key, e *cluster.Entry, room vip.Room) {
	left := vip.ClaimOf(e).Without(room)
	if left == a.leftOut.of[service] {
		return
	}
	if a.leftOut.set(service, left) {
		a.Log.Warn("too many frontends or backends in a Service or its namespace; some are routed on no node",
			"service", service.String(), "frontends", left.Frontends, "backends", left.Backends)
		a.event(service, "LeftOut", fmt.Sprintf("%d frontends and %d backends are routed on no node. A frontend has at most %d backends, "+
			"a Service at most %d frontends, and all Services %d frontends and %d backends; beyond that the newest Services of the largest namespace get less",
			left.Frontends, left.Backends, vip.MaxBackends, vip.MaxFrontends, vip.NodeRoom.Frontends, vip.NodeRoom.Backends))
	}
	a.Metrics.leftOut.WithLabelValues("frontends").Set(float64(a.leftOut.sum.Frontends))
	a.Metrics.leftOut.WithLabelValues("backends").Set(float64(a.leftOut.sum.Backends))
}
