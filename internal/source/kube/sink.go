package kube

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// sink is what a Reflector writes into: it stands where an informer would have
// its cache, and passes on to the cluster.Store.
type sink struct {
	kind      cluster.Kind
	namespace string // the only one that objects come from; empty: all
	store     *cluster.Store
	options   source.Options
	reports   *reports
	health    *health
	listed    func() // called once: after the first list
	restores  *restores

	mu     sync.Mutex  // orders the writes of the Reflector and of release
	place  place       // how far the watch has come
	holder *holder     // for EndpointSlices, else nil
	timer  *time.Timer // fires when release is to look at the holder

	programmed *programmed
}

var (
	_ cache.TransformingStore      = &sink{}
	_ cache.ResourceVersionUpdater = &sink{}
)

func newSink(kind cluster.Kind, store *cluster.Store, o source.Options, reports *reports, health *health, restores *restores, listed func()) *sink {
	o.Imported = kind == cluster.KindImportedSlice
	s := &sink{kind: kind, store: store, options: o, reports: reports, health: health, restores: restores, listed: listed, programmed: newProgrammed(store, nil)}
	if kind == cluster.KindSlice {
		s.holder, s.timer = newHolder(), time.NewTimer(0)
	}
	return s
}

// item is what is left of an API object while a list is gathered.
type item struct{ object cluster.Object }

// GetObjectKind and DeepCopyObject make an item a runtime.Object, as lists want
// their items; nobody asks for its kind or changes it.
func (*item) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the item itself, which nobody changes.
func (i *item) DeepCopyObject() runtime.Object { return i }

// Transformer makes a Reflector keep items in place of objects while the server
// streams a list.
func (s *sink) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return s.item(obj), nil }
}

// item converts an object; an item stays as it is.
func (s *sink) item(obj any) *item {
	if i, ok := obj.(*item); ok {
		return i
	}
	s.health.heard()
	o, problems := source.Convert(obj, s.options)
	if m, err := meta.Accessor(obj); err == nil {
		s.reports.note(cluster.Ref{Kind: s.kind, Key: cluster.Key{Namespace: m.GetNamespace(), Name: m.GetName()}}, problems)
	}
	if o != nil {
		o = s.store.Same(o)
	}
	return &item{o}
}

// Add implements cache.ReflectorStore.
func (s *sink) Add(obj any) error { return s.Update(obj) }

// Update implements cache.ReflectorStore.
func (s *sink) Update(obj any) error { return s.write(obj, s.item(obj).object) }

// Delete implements cache.ReflectorStore. The object is the last state.
func (s *sink) Delete(obj any) error {
	s.health.heard()
	ref, _, err := s.ref(obj)
	if err != nil {
		return err
	}
	s.reports.note(ref, nil)
	return s.write(obj, nil)
}

// ref tells which object an event is about, and at which version.
func (s *sink) ref(obj any) (cluster.Ref, uint64, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return cluster.Ref{}, 0, fmt.Errorf("an event about %v with a %T: want an object of the API", s.kind, obj)
	}
	ref := cluster.Ref{Kind: s.kind, Key: cluster.Key{Namespace: m.GetNamespace(), Name: m.GetName()}}
	return ref, source.Version(m.GetResourceVersion()), nil
}

// write tells the Store what has become of an object: o, or nil if there is
// nothing for us in it any more.
func (s *sink) write(obj any, o cluster.Object) error {
	ref, version, err := s.ref(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.holder != nil:
		s.hold(obj, ref.Key, version, o)
	case o == nil:
		s.store.Delete(version, ref)
	case s.kind == cluster.KindService:
		before := s.store.Service(ref.Key.Namespace, ref.Key.Name)
		s.store.Put(version, o)
		s.programmed.service(obj, before, o)
	default:
		s.store.Put(version, o)
	}
	return nil
}

// hold sends the event about a slice through the holder. The Service of a slice
// that goes is in its last state.
func (s *sink) hold(obj any, key cluster.Key, version uint64, o cluster.Object) {
	next, _ := o.(*cluster.Slice)
	of := next
	if of == nil {
		last, _ := source.Convert(obj, s.options)
		of, _ = last.(*cluster.Slice)
	}
	var e *cluster.Entry
	if of != nil {
		e = s.store.Service(of.Service.Namespace, of.Service.Name)
	}
	shown, now := find(e, key), time.Now()
	c, due := s.holder.event(now, key, next, e), s.holder.due(now)
	s.apply(version, append([]change{c}, due...)...) // in this order: one may be about the same slice
	s.programmed.slice(obj, key, shown, next, !s.holder.holds(key))
	s.released(due)
	s.await()
}

// await has release wake up in time.
func (s *sink) await() {
	if next, ok := s.holder.next(); ok {
		s.timer.Reset(time.Until(next))
	} else {
		s.timer.Stop()
	}
}

// apply tells the Store of changes, in one write: who waits for changes takes them together.
func (s *sink) apply(version uint64, changes ...change) {
	var put []cluster.Object
	var gone []cluster.Ref
	for _, c := range changes {
		if c.slice == nil {
			gone = append(gone, cluster.Ref{Kind: cluster.KindSlice, Key: c.key})
		} else {
			put = append(put, c.slice)
		}
	}
	if len(put) > 0 {
		s.store.Put(version, put...)
	}
	if len(gone) > 0 {
		s.store.Delete(version, gone...)
	}
}

// released tells of slices that are now seen as they are, after what was due was applied.
func (s *sink) released(due []change) {
	for _, c := range due {
		if !s.holder.holds(c.key) {
			s.programmed.release(c.key)
		}
	}
}

// release applies what was held when its time has come and no event took it along, until ctx
// is done.
func (s *sink) release(ctx context.Context) {
	defer s.timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.timer.C:
		}
		s.letGo(time.Now())
	}
}

// letGo applies what is due.
func (s *sink) letGo(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.holder.due(now)
	s.apply(0, due...)
	s.released(due)
	s.await()
}

// Replace implements cache.ReflectorStore: a complete list, of items or objects.
func (s *sink) Replace(list []any, resourceVersion string) error {
	objects := make([]cluster.Object, 0, len(list))
	for _, obj := range list {
		if o := s.item(obj).object; o != nil {
			objects = append(objects, o)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.programmed.forget()
	if s.holder != nil {
		s.holder.forget()
	}
	s.place.reached(resourceVersion, s.restores)
	if version := s.place.version; s.namespace == "" {
		s.store.Replace(version, s.kind, objects)
	} else {
		s.store.ReplaceIn(version, s.kind, s.namespace, objects)
	}
	if s.health.listed() {
		s.listed()
	}
	return nil
}

// without goes on as if the list were empty, until there is one.
func (s *sink) without() {
	if s.health.listed() {
		s.listed()
	}
}

// Resync implements cache.ReflectorStore; the Store needs no reminders.
func (s *sink) Resync() error { return nil }

// largestReports is how many objects with problems are remembered.
const largestReports = 4096

// reports passes problems on once per object, until they change: a slice with a
// broken address may be updated every second.
type reports struct {
	mu     sync.Mutex
	report func(source.Problem)
	known  map[cluster.Ref][]source.Problem
}

func newReports(report func(source.Problem)) *reports {
	return &reports{report: report, known: map[cluster.Ref][]source.Problem{}}
}

func (r *reports) note(ref cluster.Ref, problems []source.Problem) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.known[ref]
	if len(problems) == 0 {
		delete(r.known, ref)
		return
	}
	if len(r.known) >= largestReports {
		clear(r.known)
	}
	r.known[ref] = problems
	seen := make(map[source.Problem]bool, len(before))
	for _, p := range before {
		seen[p] = true
	}
	for _, p := range problems {
		if !seen[p] {
			r.report(p)
		}
	}
}
