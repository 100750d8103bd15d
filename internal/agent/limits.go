package agent

import (
	"fmt"
	"log/slog"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// limits counts the routes that ask for more than the dataplane can.
type limits struct {
	list      []dataplane.Limit
	concerned []int  // routes, by limit
	told      []bool // that there are any
}

func newLimits(d dataplane.Dataplane) limits {
	limited, ok := d.(dataplane.Limited)
	if !ok {
		return limits{}
	}
	list := limited.Limits()
	return limits{list, make([]int, len(list)), make([]bool, len(list))}
}

// add follows the table by its changes, and says once of each limit which route met it first.
func (l *limits) add(changes []vip.Change, log *slog.Logger, tell func(service cluster.Key, reason, message string)) {
	for i, limit := range l.list {
		for _, c := range changes {
			if c.Old != nil && limit.Concerns(c.Old) {
				l.concerned[i]--
			}
			if c.New == nil || !limit.Concerns(c.New) {
				continue
			}
			l.concerned[i]++
			if limit.Tell && (c.Old == nil || c.Old.Owner.Service != c.New.Owner.Service) {
				tell(c.New.Owner.Service, "NotProgrammed", fmt.Sprintf("%v: %s", c.New.Frontend, limit.Why))
			}
			if !l.told[i] {
				l.told[i] = true
				log.Warn("a Service asks for what this mode can do in part only", "limit", limit.Name, "why", limit.Why,
					"frontend", c.New.Frontend.String(), "service", c.New.Owner.String())
			}
		}
	}
}
