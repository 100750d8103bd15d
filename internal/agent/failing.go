package agent

import (
	"maps"
	"slices"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// failing are the routes that could not be programmed, with the reason.
type failing map[vip.Frontend]string

// update takes over what came of writing the touched frontends (nil: all), and
// returns what is worth a line: routes that fail for the first time or for
// another reason, and how many do not fail any more.
func (f failing) update(errs []*dataplane.RouteError, touched []vip.Frontend) (fresh []*dataplane.RouteError, gone int) {
	now := map[vip.Frontend]bool{}
	for _, e := range errs {
		if now[e.Route.Frontend] {
			continue
		}
		now[e.Route.Frontend] = true
		if reason := e.Err.Error(); f[e.Route.Frontend] != reason {
			f[e.Route.Frontend] = reason
			fresh = append(fresh, e)
		}
	}
	if touched == nil {
		touched = slices.Collect(maps.Keys(f))
	}
	for _, at := range touched {
		if _, failed := f[at]; failed && !now[at] {
			delete(f, at)
			gone++
		}
	}
	return fresh, gone
}
