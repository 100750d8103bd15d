package agent

import (
	"context"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// pace is how much the agent does between two looks for other changes. Sizes are frontends
// and backends together.
type pace struct {
	large int // a Service beyond that is not written at once
	step  int // what is written at once
	few   int // how many small Services are built together
}

var defaultPace = pace{large: 1 << 10, step: 1 << 13, few: 1 << 8}

// lane is where Services wait that are too large to be written at once, and those for which
// a burst leaves no room. They are built beside the loop and written in steps; between two
// steps the loop takes other changes. A Service that changes meanwhile is first brought to
// the state that was built, and then waits again: it makes progress however often it
// changes, and holds up no other.
type lane struct {
	pace

	small, big []cluster.Key // that wait to be built: small Services, large ones
	queued     map[cluster.Key]bool
	busy       map[cluster.Key]bool // are built or written
	bigNext    bool                 // small and big take turns

	building []*job // nil if nothing is
	built    chan []*job
	dropped  bool   // what is being built is of no use any more
	moves    []*job // that are written, in turn
	written  []*job // that are in the table; the dataplane may be writing them

	took time.Duration // since the last rest
	rest *rest
}

// job is one Service on its way to the table.
type job struct {
	service cluster.Key
	entry   *cluster.Entry
	room    vip.Room
	large   bool

	routes  []*vip.Route
	serving map[portKey]backends
	move    *vip.Transition
	look    []vip.Frontend // that lost or got an owner
	moments []moment       // of the changes that it has
}

func newLane() lane {
	return lane{pace: defaultPace, queued: map[cluster.Key]bool{}, busy: map[cluster.Key]bool{}, built: make(chan []*job, 1), rest: newRest()}
}

// has reports whether changes of a Service have to go through the lane.
func (l *lane) has(k cluster.Key) bool { return l.queued[k] || l.busy[k] }

// add has a Service built.
func (l *lane) add(k cluster.Key, large bool) {
	switch {
	case l.queued[k]:
		return
	case large:
		l.big = append(l.big, k)
	default:
		l.small = append(l.small, k)
	}
	l.queued[k] = true
}

// clear forgets all of it: everything is built anew without the lane. It returns the
// jobs that do not end.
func (l *lane) clear() []*job {
	jobs := slices.Concat(l.building, l.moves, l.written)
	l.small, l.big, l.moves, l.written = nil, nil, nil, nil
	l.queued, l.busy = map[cluster.Key]bool{}, map[cluster.Key]bool{}
	l.dropped = l.building != nil
	return jobs
}

// next takes the Services to build next from the queues: one large one, or a few small ones.
func (l *lane) next() (keys []cluster.Key, large bool) {
	for range 2 {
		l.bigNext = !l.bigNext
		queue, most := &l.small, l.few
		if l.bigNext {
			queue, most = &l.big, 1
		}
		*queue = slices.DeleteFunc(*queue, func(k cluster.Key) bool {
			if len(keys) == most || l.busy[k] {
				return false
			}
			keys = append(keys, k)
			return true
		})
		if len(keys) > 0 {
			return keys, l.bigNext
		}
	}
	return nil, false
}

// anyTime is always readable.
var anyTime = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// ready is readable if there is a step to make.
func (l *lane) ready() <-chan struct{} {
	if len(l.moves)+len(l.written) == 0 || l.rest.resting {
		return nil
	}
	return anyTime
}

// startBuild has the next Services built, if none are: beside the loop, for that takes long.
func (a *Agent) startBuild() {
	l := &a.lane
	if l.building != nil || l.rest.resting {
		return
	}
	keys, large := l.next()
	if keys == nil {
		return
	}
	for _, k := range keys {
		delete(l.queued, k)
		l.busy[k] = true
		l.building = append(l.building, &job{
			service: k, entry: a.Store.Service(k.Namespace, k.Name), room: a.budget.Room(k), large: large, moments: a.latency.claim(k),
		})
	}
	jobs, build, node, tracks := l.building, a.build, a.node, a.flows.tracks
	go func() {
		for _, j := range jobs {
			j.routes = build(j.entry, node, j.room)
			j.serving = servingOf(j.service, j.entry, j.routes, tracks)
		}
		l.built <- jobs
	}()
}

// begin takes over what was built.
func (a *Agent) begin(jobs []*job) {
	l := &a.lane
	l.building = nil
	if l.dropped {
		l.dropped = false
		return
	}
	for _, j := range jobs {
		j.move = a.table.Begin(j.service, j.routes)
		a.short(j.service, j.entry, j.room)
	}
	a.Metrics.serviceChanges.Add(float64(len(jobs)))
	l.moves = append(l.moves, jobs...)
}

// step writes a part of what the lane has.
func (a *Agent) step(ctx context.Context) {
	l, start := &a.lane, time.Now()
	select {
	case jobs := <-l.built: // they take their turn from now on
		a.begin(jobs)
	default:
	}
	var changes []vip.Change
	unfinished := a.unfinished()
	if !unfinished {
		changes = a.advance()
	}
	if !a.dirty && (unfinished || len(changes) > 0) {
		a.apply(ctx, changes)
	}
	large := false
	if !a.unfinished() {
		large = a.end(ctx)
	}
	l.took += time.Since(start)
	if len(l.moves)+len(l.written)+len(l.small)+len(l.big) == 0 || large {
		l.rest.begin(l.took)
		l.took = 0
	}
}

// unfinished reports whether the dataplane has not completely written the last changes.
func (a *Agent) unfinished() bool {
	d, slices := a.Dataplane.(dataplane.Sliced)
	return slices && !a.dirty && d.Unfinished()
}

// end takes the jobs that are written out of the lane, and reports whether one was large.
func (a *Agent) end(ctx context.Context) (large bool) {
	l := &a.lane
	for _, j := range l.written {
		delete(l.busy, j.service)
		a.built[j.service] = struct{}{}
		a.flows.update(j.service, j.serving, j.routes, j.look)
		a.latency.release(j.moments)
		large = large || j.large
	}
	l.written = nil
	a.write(ctx, nil)
	return large
}

// advance brings a part of what was built into the table, from each Service in turn.
func (a *Agent) advance() (changes []vip.Change) {
	l := &a.lane
	for cost := 0; cost <= l.step/2 && len(l.moves) > 0; {
		j := l.moves[0]
		l.moves = l.moves[1:]
		a.mu.Lock()
		s := a.table.Advance(j.move, l.step-cost)
		a.mu.Unlock()
		cost += s.Cost
		a.note(j.service, s.Routes, s.Changes)
		j.look = append(j.look, newOwners(s.Changes)...)
		changes = append(changes, s.Changes...)
		if !s.Done {
			l.moves = append(l.moves, j)
			break
		}
		a.conflicts.keep(j.service, j.routes)
		l.written = append(l.written, j)
	}
	return a.noted(changes)
}
