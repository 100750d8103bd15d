package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// take builds the changed Services, sets them in the table and returns the differences.
// Its cost depends on these Services only. Large Services wait in the lane, unless all is set.
func (a *Agent) take(refs []cluster.Ref, all bool) []vip.Change {
	services := a.claim(refs)
	if all {
		for _, j := range a.lane.clear() {
			a.latency.release(j.moments)
		}
	} else {
		services = a.sortOut(services)
	}
	var changes []vip.Change
	for _, s := range services {
		entry, room := a.Store.Service(s.Namespace, s.Name), a.budget.Room(s.Key)
		routes := a.build(entry, a.node, room)
		a.short(s.Key, entry, room)
		a.mu.Lock()
		differ := a.table.Set(s.Key, routes)
		a.mu.Unlock()
		a.flows.update(s.Key, servingOf(s.Key, entry, routes, a.flows.tracks), routes, newOwners(differ))
		a.note(s.Key, routes, differ)
		a.conflicts.keep(s.Key, routes)
		a.built[s.Key] = struct{}{}
		changes = append(changes, differ...)
	}
	a.Metrics.serviceChanges.Add(float64(len(services)))
	return a.noted(changes)
}

// sized is a changed Service with the larger of its old and new sizes.
type sized struct {
	cluster.Key
	size int
}

// claim updates the budget with the changed Services. Services whose room changes as a result wait in the lane.
func (a *Agent) claim(refs []cluster.Ref) []sized {
	services := make([]sized, 0, len(refs))
	for _, ref := range refs {
		if ref.Kind != cluster.KindService {
			continue // refreshNode handles the node's own objects
		}
		entry, created := a.Store.Service(ref.Key.Namespace, ref.Key.Name), uint32(0)
		if entry != nil {
			created = entry.Service.Created
		}
		a.ranges.update(ref.Key, entry)
		before, now := a.budget.Claimed(ref.Key), vip.ClaimOf(entry).Room
		for _, other := range a.budget.Set(ref.Key, created, now) {
			c := a.budget.Claimed(other)
			a.lane.add(other, c.Frontends+c.Backends > a.lane.large)
		}
		services = append(services, sized{ref.Key, max(before.Frontends+before.Backends, now.Frontends+now.Backends)})
	}
	return services
}

// sortOut returns the Services that can be written at once and adds the rest to the lane.
func (a *Agent) sortOut(services []sized) (small []sized) {
	cost := 0
	for _, s := range services {
		if s.size > a.lane.large || a.lane.has(s.Key) {
			a.lane.add(s.Key, s.size > a.lane.large)
			continue
		}
		small = append(small, s)
		cost += s.size
	}
	if cost <= a.lane.step {
		return small
	}
	slices.SortFunc(small, func(s, t sized) int { return cmp.Compare(s.size, t.size) })
	cost = 0
	for i, s := range small {
		if cost += s.size; cost <= a.lane.step {
			continue
		}
		for _, s := range small[i:] {
			a.lane.add(s.Key, false)
		}
		return small[:i]
	}
	return small
}

// note updates all counters, limits and reports with the changes of one Service.
func (a *Agent) note(service cluster.Key, routes []*vip.Route, differ []vip.Change) {
	a.counts.add(differ)
	a.limits.add(differ, a.Log, a.event)
	a.noteChecks(differ)
	a.contested(service, routes, differ)
	a.guarded(service, a.Store.Service(service.Namespace, service.Name))
}

// noted updates what follows the whole table, and merges the changes to one per frontend.
func (a *Agent) noted(changes []vip.Change) []vip.Change {
	a.Metrics.table(&a.counts, &a.limits, len(a.conflicts.contested))
	a.Metrics.refused.Set(float64(a.refusals.total))
	changes = merged(changes)
	if a.Relay != nil {
		a.Relay.Change(changes)
	}
	if a.Traffic != nil {
		a.Traffic.Follow(a.host.NodePortAddrs, changes)
	}
	return changes
}

// contested reports the frontends that several Services claim: one log line and one Event
// per losing Service, regardless of the number of frontends.
func (a *Agent) contested(service cluster.Key, routes []*vip.Route, differ []vip.Change) {
	for _, c := range a.conflicts.update(a.table, service, routes, differ) {
		a.Log.Warn("Services claim the same frontend", "frontend", c.first.String(), "owner", c.winner.Owner.String(),
			"claimant", c.loser.Owner.String(), "service", c.loser.Owner.Service.String(), "frontends", c.frontends, "reason", reason(c))
		a.event(c.loser.Owner.Service, "FrontendConflict", fmt.Sprintf("%v belongs to %v: %s%s",
			c.first, c.winner.Owner, reason(c), more(c.frontends-1, "frontend")))
	}
}

// reason explains why the winner keeps the frontend.
func reason(c conflict) string {
	switch {
	case c.winner.IsOtherPorts():
		return "the address is its ClusterIP"
	case c.winner.Kind != c.loser.Kind && !c.first.IsNodePort():
		return fmt.Sprintf("%v precedes %v", c.winner.Kind, c.loser.Kind)
	}
	return "it is older"
}

// more formats the number of items beyond the one that a message names.
func more(n int, what string) string {
	switch n {
	case 0:
		return ""
	case 1:
		return " (and 1 more " + what + ")"
	}
	return fmt.Sprintf(" (and %d more %ss)", n, what)
}

func (a *Agent) event(service cluster.Key, reason, message string) {
	if a.Events != nil {
		a.Events.Event(service, reason, message)
	}
}

// merged reduces changes to one per frontend, from the first old to the last new route.
// A frontend can change its owner within one batch.
func merged(changes []vip.Change) []vip.Change {
	if len(changes) < 2 {
		return changes
	}
	place := make(map[vip.Frontend]int, len(changes))
	out := changes[:0]
	for _, c := range changes {
		if i, again := place[c.Frontend]; again {
			out[i].New = c.New
			continue
		}
		place[c.Frontend] = len(out)
		out = append(out, c)
	}
	return slices.DeleteFunc(out, func(c vip.Change) bool { return c.Old == c.New })
}

// write applies changes to the kernel, then removes the flows that became stale.
func (a *Agent) write(ctx context.Context, changes []vip.Change) {
	switch {
	case a.dirty: // the retry syncs the whole table
		return
	case len(changes) > 0:
		a.apply(ctx, changes)
	default:
		a.Health.Updated()
		a.finish()
	}
	if !a.dirty && !a.due.After(time.Now()) { // else once the removed backends have left
		a.clean() // even without changed routes: a draining backend that disappears has no route
	}
}

// apply writes changes and handles the result.
func (a *Agent) apply(ctx context.Context, changes []vip.Change) {
	start := time.Now()
	due, err := a.Dataplane.Apply(ctx, changes)
	took := time.Since(start)
	a.schedule(due)
	touched := make([]vip.Frontend, 0, len(changes))
	verbose := a.Log.Enabled(ctx, slog.LevelDebug)
	for _, c := range changes {
		touched = append(touched, c.Frontend)
		if verbose {
			a.Log.Debug("frontend", "old", text(c.Old), "new", text(c.New))
		}
	}
	a.settled(ctx, changed, took, err, touched)
}

// sync writes the whole table. It logs an error and schedules a retry; only the first call needs the result.
func (a *Agent) sync(ctx context.Context, why string) error {
	start := time.Now()
	a.Health.Queued()
	err := a.Dataplane.Sync(ctx, a.host, a.table)
	took := time.Since(start)
	a.schedule(time.Time{})
	if !a.settled(ctx, everything, took, err, nil) {
		return err
	}
	a.Log.Info("rules are in place", "reason", why, "frontends", a.table.Len(),
		"took", took.Round(time.Microsecond).String())
	a.flows.lookAtAll(a.table) // flows may have started while rules were missing or different
	a.clean()
	return err
}

// clean removes flows whose backend is gone. The rules must be written first.
func (a *Agent) clean() {
	if stale := a.flows.stale(a.table); len(stale) > 0 {
		a.Flows.Clean(a.host.NodePortAddrs, stale)
		if a.due.After(time.Now()) { // a client may begin a flow to a backend that has not left yet
			for _, k := range stale {
				a.flows.lookAt(k.Frontend)
			}
		}
	}
}

// settled handles the result of a write and reports whether it succeeded, rejected single
// routes aside. touched lists the written frontends; nil means all.
func (a *Agent) settled(ctx context.Context, what string, took time.Duration, err error, touched []vip.Frontend) bool {
	refused, fatal := split(err)
	if fatal != nil && ctx.Err() != nil {
		return false // the shutdown interrupted the write
	}
	a.Metrics.wrote(what, took, fatal)
	if fatal != nil {
		a.dirty = true
		pause := a.pause.pause()
		a.retry.Reset(pause)
		a.Log.Error("writing rules failed", "scope", what, "err", fatal, "retryIn", pause.String())
		return false
	}
	a.dirty = false
	a.pause.reset()
	a.refused(refused, touched)
	a.Metrics.inPlace(len(a.failing))
	a.Health.Updated()
	a.finish()
	a.publishChecks()
	a.closeInPlace()
	return true
}

// refused records the routes that the dataplane rejected and reports each once.
func (a *Agent) refused(errs []*dataplane.RouteError, touched []vip.Frontend) {
	fresh, gone := a.failing.update(errs, touched)
	for i, e := range fresh {
		if i == maxLines {
			a.Log.Error("more routes rejected", "routes", len(fresh)-i)
			break
		}
		reason, line := "NotProgrammed", "route not programmed; other routes are not affected"
		if errors.Is(e, dataplane.ErrInPart) {
			reason, line = "ProgrammedInPart", "route programmed in part"
		}
		a.Log.Error(line, "frontend", e.Route.Frontend.String(), "service", e.Route.Owner.String(), "err", e.Err)
		a.event(e.Route.Owner.Service, reason, "on node "+a.NodeName+": "+e.Error())
	}
	if gone > 0 {
		a.Log.Info("rejected routes are programmed or gone", "routes", gone, "left", len(a.failing))
	}
	switch {
	case len(a.failing) == 0:
		a.routes.reset()
		a.retry.Stop()
	case len(fresh) > 0 || touched == nil:
		a.retry.Reset(a.routes.pause())
	}
}

// The scope of a write, in metrics and logs.
const (
	everything = "all"
	changed    = "changes"
)

// maxLines limits the log lines about rejected routes per write.
const maxLines = 10

// schedule notes when the dataplane continues the last changes.
func (a *Agent) schedule(due time.Time) {
	if a.due = due; due.IsZero() {
		a.ticks.Stop()
		return
	}
	a.ticks.Reset(time.Until(due))
}

// unfinished reports whether the dataplane has to continue the last changes at once.
func (a *Agent) unfinished() bool { return !a.due.IsZero() && !a.due.After(time.Now()) }

// finishChanges continues the last changes, and then removes the flows that they end.
func (a *Agent) finishChanges(ctx context.Context) {
	start := time.Now()
	state, err := a.Dataplane.Tick(ctx, start)
	a.schedule(state.Due)
	if a.settled(ctx, changed, time.Since(start), err, []vip.Frontend{}) {
		a.repair(ctx, state)
	}
	if !a.dirty {
		a.clean()
	}
	a.endStep(ctx, start)
}

// tick lets the dataplane do its periodic work, and rewrites the rules if another program changed them.
func (a *Agent) tick(ctx context.Context) {
	moved := a.enforce() // a pause may have ended
	switch {
	case a.dirty: // the retry rewrites them anyway
		return
	case moved:
		_ = a.sync(ctx, "enforced ServiceCIDRs changed")
		return
	case !a.due.IsZero(): // finishChanges runs soon
		return
	}
	start := time.Now()
	state, err := a.Dataplane.Tick(ctx, start)
	a.schedule(state.Due)
	if err == nil || a.settled(ctx, changed, time.Since(start), err, []vip.Frontend{}) {
		a.repair(ctx, state)
	}
}

// repair rewrites the rules if another program changed them.
func (a *Agent) repair(ctx context.Context, state dataplane.State) {
	if state.Unseen != nil {
		if text := state.Unseen.Error(); a.tickErr != text && ctx.Err() == nil {
			a.tickErr = text
			a.Log.Warn("checking the rules failed", "err", state.Unseen)
		}
		return
	}
	a.tickErr = ""
	if state.Changed {
		a.Metrics.repaired()
		a.Log.Warn("another program changed the rules; rewriting them")
		_ = a.sync(ctx, "repair")
	}
}

// split separates the errors about single routes from the rest of an error.
func split(err error) (routes []*dataplane.RouteError, fatal error) {
	if err == nil {
		return nil, nil
	}
	if e, ok := err.(*dataplane.RouteError); ok {
		return []*dataplane.RouteError{e}, nil
	}
	many, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil, err
	}
	var rest []error
	for _, e := range many.Unwrap() {
		some, bad := split(e)
		routes = append(routes, some...)
		rest = append(rest, bad)
	}
	return routes, errors.Join(rest...)
}

func text(r *vip.Route) string {
	if r == nil {
		return "none"
	}
	return r.String()
}
