package agent

import (
	"context"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// pace limits the work between two checks for other changes. Sizes count frontends and
// backends together.
type pace struct {
	large int // larger Services are written in steps
	step  int // largest single write
	few   int // number of small Services built together
}

var defaultPace = pace{large: 1 << 10, step: 1 << 13, few: 1 << 8}

// lane queues the Services that are too large for one write, and those that exceed the
// capacity of a burst. The agent builds them in the background and writes them in steps;
// between two steps the loop handles other changes. If a Service changes meanwhile, the agent
// first completes the state that it built and then queues the Service again. A Service thus
// makes progress however often it changes, and it does not delay others.
type lane struct {
	pace

	small, big []cluster.Key // waiting to be built
	queued     map[cluster.Key]bool
	busy       map[cluster.Key]bool // being built or written
	bigNext    bool                 // small and big alternate

	building []*job // nil if none is running
	built    chan []*job
	dropped  bool   // the result of the running build is obsolete
	moves    []*job // being written, round robin
	written  []*job // in the table; the dataplane may still be writing them

	took time.Duration // since the last rest
	rest *rest
}

// job is one Service on its way through the lane to the table.
type job struct {
	service cluster.Key
	entry   *cluster.Entry
	room    vip.Room
	large   bool

	routes  []*vip.Route
	serving map[portKey]backends
	move    *vip.Transition
	look    []vip.Frontend // frontends that got or lost an owner
	moments []moment       // of the changes in this job
}

func newLane() lane {
	return lane{pace: defaultPace, queued: map[cluster.Key]bool{}, busy: map[cluster.Key]bool{}, built: make(chan []*job, 1), rest: newRest()}
}

// has reports whether changes of a Service must pass through the lane.
func (l *lane) has(k cluster.Key) bool { return l.queued[k] || l.busy[k] }

// add queues a Service to be built.
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

// clear empties the lane because everything is rebuilt without it. It returns the
// unfinished jobs.
func (l *lane) clear() []*job {
	jobs := slices.Concat(l.building, l.moves, l.written)
	l.small, l.big, l.moves, l.written = nil, nil, nil, nil
	l.queued, l.busy = map[cluster.Key]bool{}, map[cluster.Key]bool{}
	l.dropped = l.building != nil
	return jobs
}

// next returns the Services to build next: one large one, or a few small ones.
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

// anyTime is a channel that is always ready.
var anyTime = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// ready returns a channel that is ready while there is a step to take. The dataplane finishes the last one first.
func (a *Agent) ready() <-chan struct{} {
	l := &a.lane
	if len(l.moves)+len(l.written) == 0 || l.rest.resting || a.unfinished() {
		return nil
	}
	return anyTime
}

// startBuild builds the next Services in the background, unless a build is running.
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

// begin accepts the result of a build.
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

// step writes a part of the jobs.
func (a *Agent) step(ctx context.Context) {
	l, start := &a.lane, time.Now()
	select {
	case jobs := <-l.built: // they take their turn from now on
		a.begin(jobs)
	default:
	}
	if changes := a.advance(); !a.dirty && len(changes) > 0 {
		a.apply(ctx, changes)
	}
	a.endStep(ctx, start)
}

// endStep ends the jobs that are written once the dataplane has finished them, and lets the lane rest after the
// last job and after a large one.
func (a *Agent) endStep(ctx context.Context, start time.Time) {
	l := &a.lane
	large := !a.unfinished() && a.end(ctx)
	l.took += time.Since(start)
	if len(l.moves)+len(l.written)+len(l.small)+len(l.big) == 0 || large {
		l.rest.begin(l.took)
		l.took = 0
	}
}

// end removes the written jobs from the lane and reports whether one of them was large.
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

// advance sets a part of the built routes in the table, round robin over the Services.
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
