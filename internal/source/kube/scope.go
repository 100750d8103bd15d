package kube

import (
	"context"
	"maps"
	"sync"

	"k8s.io/client-go/tools/cache"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// scope runs watches of some namespaces instead of cluster-wide ones: the server then sends
// nothing else, and Roles in these namespaces suffice. The configuration lists the
// namespaces, or a watch of Namespaces with a selector finds them.
type scope struct {
	feed  *Feed
	kinds []cluster.Kind // namespaced kinds
	wake  chan struct{}

	mu     sync.Mutex
	wanted map[string]bool         // namespaces
	listed bool                    // wanted is complete
	groups map[string]*group       // only run modifies it and may read it without mu
	past   map[cluster.Kind]uint64 // failures of ended watches
}

// group holds the watches of one namespace.
type group struct {
	links []*link
	stop  context.CancelFunc
	done  chan struct{}
}

func newScope(f *Feed, kinds []cluster.Kind, namespaces []string) *scope {
	s := &scope{
		feed: f, kinds: kinds, wake: make(chan struct{}, 1),
		wanted: map[string]bool{}, groups: map[string]*group{}, past: map[cluster.Kind]uint64{},
	}
	if len(namespaces) > 0 {
		s.replace(namespaces)
	}
	return s
}

func (s *scope) put(namespace string) {
	s.change(func() bool {
		known := s.wanted[namespace]
		s.wanted[namespace] = true
		return !known
	})
}

func (s *scope) remove(namespace string) {
	s.change(func() bool {
		delete(s.wanted, namespace)
		return true
	})
}

func (s *scope) replace(namespaces []string) {
	s.change(func() bool {
		s.listed = true
		clear(s.wanted)
		for _, name := range namespaces {
			s.wanted[name] = true
		}
		return true
	})
}

// change applies how to the wanted namespaces and wakes run if how returns true.
func (s *scope) change(how func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !how() {
		return
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run starts and ends watches as namespaces appear and disappear, until ctx is done.
func (s *scope) run(ctx context.Context) {
	for first := true; ; {
		select {
		case <-ctx.Done():
			for _, g := range s.groups { // no longer modified
				<-g.done
			}
			return
		case <-s.wake:
		}
		s.mu.Lock()
		wanted, listed := maps.Clone(s.wanted), s.listed
		s.mu.Unlock()
		if !listed {
			continue
		}
		if ended := s.follow(ctx, wanted); ended || first { // first: what an older process left in a snapshot
			for _, kind := range s.kinds {
				s.feed.store.DeleteFunc(kind, func(k cluster.Key) bool { return !wanted[k.Namespace] })
			}
		}
		if first {
			first = false
			s.feed.barrier.listed() // the watches of the first namespaces count by now
		}
	}
}

// follow starts and ends watches to match the wanted namespaces, and reports whether it ended any.
func (s *scope) follow(ctx context.Context, wanted map[string]bool) (ended bool) {
	for name := range wanted {
		if s.groups[name] == nil {
			g := s.start(ctx, name)
			s.mu.Lock()
			s.groups[name] = g
			s.mu.Unlock()
		}
	}
	for name, g := range s.groups {
		if !wanted[name] {
			s.end(name, g)
			ended = true
		}
	}
	return ended
}

func (s *scope) start(ctx context.Context, namespace string) *group {
	ctx, cancel := context.WithCancel(ctx)
	g := &group{stop: cancel, done: make(chan struct{})}
	var all sync.WaitGroup
	for _, kind := range s.kinds {
		l := s.feed.newLink(kind, namespace)
		g.links = append(g.links, l)
		s.feed.run(ctx, l, &all)
	}
	go func() {
		all.Wait()
		close(g.done)
	}()
	return g
}

// end ends a group and waits until it writes nothing more. The initial sync no longer waits
// for it.
func (s *scope) end(name string, g *group) {
	g.stop()
	<-g.done
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.groups, name)
	for _, l := range g.links {
		l.sink.listed()
		s.past[l.sink.kind] += l.sink.health.get().Failures
	}
}

// links returns the watches of a kind, and the failures of its ended watches.
func (s *scope) links(kind cluster.Kind) (links []*link, past uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		for _, l := range g.links {
			if l.sink.kind == kind {
				links = append(links, l)
			}
		}
	}
	return links, s.past[kind]
}

// follower is the sink of Namespaces that informs a scope of the selected ones.
type follower struct {
	*sink
	scope *scope
}

var (
	_ cache.TransformingStore      = follower{}
	_ cache.ResourceVersionUpdater = follower{}
)

// Add implements cache.ReflectorStore.
func (f follower) Add(obj any) error { return f.Update(obj) }

// Update implements cache.ReflectorStore.
func (f follower) Update(obj any) error {
	ref, _, err := f.ref(obj)
	if err != nil {
		return err
	}
	f.scope.put(ref.Key.Name)
	return f.sink.Update(obj)
}

// Delete implements cache.ReflectorStore: the namespace is gone or no longer
// selected.
func (f follower) Delete(obj any) error {
	ref, _, err := f.ref(obj)
	if err != nil {
		return err
	}
	f.scope.remove(ref.Key.Name)
	return f.sink.Delete(obj)
}

// Replace implements cache.ReflectorStore.
func (f follower) Replace(list []any, resourceVersion string) error {
	var names []string
	for _, obj := range list {
		if o := f.item(obj).object; o != nil {
			names = append(names, o.Ref().Key.Name)
		}
	}
	err := f.sink.Replace(list, resourceVersion)
	f.scope.replace(names)
	return err
}

// status combines the watches of a kind: the oldest age and the worst state.
func status(kind cluster.Kind, links []*link, past uint64) source.Status {
	out := source.Status{Kind: kind, Synced: true, Failures: past}
	for i, l := range links {
		st := l.sink.health.get()
		if i == 0 || st.LastEvent.Before(out.LastEvent) {
			out.LastEvent = st.LastEvent
		}
		out.Synced = out.Synced && st.Synced
		out.Failures += st.Failures
		if st.LastError != "" && (out.LastError == "" || st.Failing && !out.Failing) {
			out.LastError = st.LastError
		}
		out.Failing = out.Failing || st.Failing
	}
	return out
}
