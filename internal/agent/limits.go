package agent

import (
	"fmt"
	"log/slog"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// limits counts the routes that need more than the dataplane supports.
type limits struct {
	list      []dataplane.Limit
	concerned []int  // number of routes, by limit
	logged    []bool // by limit
}

func newLimits(list []dataplane.Limit) limits {
	return limits{list, make([]int, len(list)), make([]bool, len(list))}
}

// add updates the counts with changes of the table. It logs each limit once, with the first route that meets it.
func (l *limits) add(changes []vip.Change, log *slog.Logger, event func(service cluster.Key, reason, message string)) {
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
				event(c.New.Owner.Service, "NotProgrammed", fmt.Sprintf("%v: %s", c.New.Frontend, limit.Why))
			}
			if !l.logged[i] {
				l.logged[i] = true
				log.Warn("this mode supports a Service only in part", "limit", limit.Name, "reason", limit.Why,
					"frontend", c.New.Frontend.String(), "service", c.New.Owner.String())
			}
		}
	}
}
