package agent

import (
	"maps"
	"slices"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// failing maps the routes that could not be programmed to the error text.
type failing map[vip.Frontend]string

// update records the result of writing the touched frontends (nil means all). It returns
// the errors that are new or changed, and the number of routes that no longer fail.
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
