package cluster

import "sync"

// Subscription gathers what changed in a Store since it was last asked. Many
// changes of one object are one entry, so a reader that is busy misses nothing
// and is told nothing twice. Safe for concurrent use.
type Subscription struct {
	wake chan struct{}

	mu    sync.Mutex
	dirty map[Ref]struct{}
}

// Subscribe begins to gather. What is in the Store already counts as changed.
// Only Services (also for changes of their slices), Nodes and ServiceCIDRs are told of.
func (s *Store) Subscribe() *Subscription {
	sub := &Subscription{wake: make(chan struct{}, 1), dirty: map[Ref]struct{}{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.Services() {
		sub.mark(e.Service.Ref())
	}
	for n := range s.nodes.all() {
		sub.mark(n.Ref())
	}
	for _, c := range s.cidrs {
		sub.mark(c.Ref())
	}
	s.subscriptions = append(s.subscriptions, sub)
	return sub
}

// Wake is readable when there is something to Take.
func (sub *Subscription) Wake() <-chan struct{} { return sub.wake }

// Take returns what changed since the last Take, in no order.
func (sub *Subscription) Take() []Ref {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	refs := make([]Ref, 0, len(sub.dirty))
	for r := range sub.dirty {
		refs = append(refs, r)
	}
	sub.dirty = map[Ref]struct{}{} // not cleared: to walk through a map costs what it once held
	return refs
}

func (sub *Subscription) mark(r Ref) {
	sub.mu.Lock()
	sub.dirty[r] = struct{}{}
	sub.mu.Unlock()
	select {
	case sub.wake <- struct{}{}:
	default:
	}
}

// told marks a changed object for all subscribers. Readers see the change already.
func (s *Store) told(r Ref) {
	for _, sub := range s.subscriptions {
		sub.mark(r)
	}
}
