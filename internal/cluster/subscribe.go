package cluster

import "sync"

// Subscription gathers what changed in a Store since it was last asked. Many
// changes of one object are one entry, so a reader that is busy misses nothing
// and is told nothing twice. It also counts the changes, and those that its reader has
// taken and not finished. Safe for concurrent use.
type Subscription struct {
	wake chan struct{}

	mu    sync.Mutex
	dirty map[Ref]touches
	taken map[Key]touches // of Services, until Done
	seen  touches
	open  touches
}

// touches counts changes of Services and of their EndpointSlices.
type touches struct{ services, slices int }

func (t touches) plus(o touches) touches {
	return touches{t.services + o.services, t.slices + o.slices}
}

func (t touches) minus(o touches) touches {
	return touches{t.services - o.services, t.slices - o.slices}
}

// Progress counts the changes of one kind of object.
type Progress struct {
	Seen int // since the subscription began
	Open int // of these, not Done
}

// Subscribe begins to gather. What is in the Store already counts as changed.
// Only Services (also for changes of their slices), Nodes and ServiceCIDRs are told of.
func (s *Store) Subscribe() *Subscription {
	sub := &Subscription{wake: make(chan struct{}, 1), dirty: map[Ref]touches{}, taken: map[Key]touches{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.Services() {
		sub.mark(e.Service.Ref(), touches{1, len(e.Slices)})
	}
	for n := range s.nodes.all() {
		sub.mark(n.Ref(), touches{})
	}
	for _, c := range s.cidrs {
		sub.mark(c.Ref(), touches{})
	}
	s.subscriptions = append(s.subscriptions, sub)
	return sub
}

// Wake is readable when there is something to Take.
func (sub *Subscription) Wake() <-chan struct{} { return sub.wake }

// Take returns what changed since the last Take, in no order. Changes of Services are open
// until Done.
func (sub *Subscription) Take() []Ref {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	refs := make([]Ref, 0, len(sub.dirty))
	for r, t := range sub.dirty {
		refs = append(refs, r)
		if r.Kind == KindService {
			sub.taken[r.Key] = sub.taken[r.Key].plus(t)
		}
	}
	sub.dirty = map[Ref]touches{} // not cleared: to walk through a map costs what it once held
	return refs
}

// Done says that the reader has finished what it took of a Service.
func (sub *Subscription) Done(k Key) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.open = sub.open.minus(sub.taken[k])
	delete(sub.taken, k)
}

// Progress returns the counts of Services and of EndpointSlices. Changes of one object that
// came in one write, such as a list, count once.
func (sub *Subscription) Progress() (services, slices Progress) {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	return Progress{sub.seen.services, sub.open.services}, Progress{sub.seen.slices, sub.open.slices}
}

func (sub *Subscription) mark(r Ref, t touches) {
	sub.mu.Lock()
	sub.dirty[r] = sub.dirty[r].plus(t)
	sub.seen, sub.open = sub.seen.plus(t), sub.open.plus(t)
	sub.mu.Unlock()
	select {
	case sub.wake <- struct{}{}:
	default:
	}
}

// told marks a changed object for all subscribers, and what of a Service changed. Readers see the change already.
func (s *Store) told(r Ref, t touches) {
	for _, sub := range s.subscriptions {
		sub.mark(r, t)
	}
}
