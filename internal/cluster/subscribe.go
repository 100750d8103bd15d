package cluster

import "sync"

// Subscription collects what changed in a Store since the last Take. Many changes of one
// object are one entry, so a busy reader misses nothing and gets no duplicates. It also
// counts the changes, and those that its reader has taken and not finished. It is safe for
// concurrent use.
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

// Subscribe starts to collect changes. Objects that are in the Store already count as
// changed. It covers Services (with their slices), Nodes and ServiceCIDRs.
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
	sub.dirty = map[Ref]touches{} // replaced, not cleared: iterating a cleared map still scans its buckets
	return refs
}

// Done records that the reader has finished the changes that it took of a Service.
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

// notify marks an object as changed for all subscribers; t counts the changes of a Service.
// Readers see the change already.
func (s *Store) notify(r Ref, t touches) {
	for _, sub := range s.subscriptions {
		sub.mark(r, t)
	}
}
