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

// sink receives the objects of a Reflector in place of an informer's cache, and passes them
// on to the cluster.Store.
type sink struct {
	kind      cluster.Kind
	namespace string // of all objects; empty: any
	store     *cluster.Store
	options   source.Options
	reports   *reports
	health    *health
	listed    func() // called once, after the first list
	restores  *restores

	mu     sync.Mutex  // orders the writes of the Reflector and of release
	place  place       // progress of the watch
	holder *holder     // for EndpointSlices, else nil
	timer  *time.Timer // wakes release to check the holder

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

// item is what remains of an API object while a list is collected.
type item struct{ object cluster.Object }

// GetObjectKind and DeepCopyObject make an item a runtime.Object, as lists require. They are
// not used.
func (*item) GetObjectKind() schema.ObjectKind { return schema.EmptyObjectKind }

// DeepCopyObject returns the item itself, because it is immutable.
func (i *item) DeepCopyObject() runtime.Object { return i }

// Transformer makes a Reflector keep items instead of objects while the server streams a
// list.
func (s *sink) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) { return s.item(obj), nil }
}

// item converts an object; items stay as they are.
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

// Delete implements cache.ReflectorStore. The object is its last state.
func (s *sink) Delete(obj any) error {
	s.health.heard()
	ref, _, err := s.ref(obj)
	if err != nil {
		return err
	}
	s.reports.note(ref, nil)
	return s.write(obj, nil)
}

// ref returns the object of an event, and its version.
func (s *sink) ref(obj any) (cluster.Ref, uint64, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return cluster.Ref{}, 0, fmt.Errorf("an event about %v with a %T: want an object of the API", s.kind, obj)
	}
	ref := cluster.Ref{Kind: s.kind, Key: cluster.Key{Namespace: m.GetNamespace(), Name: m.GetName()}}
	return ref, source.Version(m.GetResourceVersion()), nil
}

// write updates the Store with the current state of an object: o, or nil if it is no longer
// relevant.
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

// hold passes an event about a slice through the holder. For a deleted slice, its last state
// names its Service.
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
	s.apply(version, append([]change{c}, due...)...) // in this order: both may be about the same slice
	s.programmed.slice(obj, key, shown, next, !s.holder.holds(key))
	s.released(due)
	s.await()
}

// await schedules release.
func (s *sink) await() {
	if next, ok := s.holder.next(); ok {
		s.timer.Reset(time.Until(next))
	} else {
		s.timer.Stop()
	}
}

// apply writes changes to the Store in one step, so that readers see them together.
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

// released reports the slices that the Store shows unchanged after due changes were applied.
func (s *sink) released(due []change) {
	for _, c := range due {
		if !s.holder.holds(c.key) {
			s.programmed.release(c.key)
		}
	}
}

// release applies due changes that no event has applied, until ctx is done.
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

// letGo applies due changes.
func (s *sink) letGo(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.holder.due(now)
	s.apply(0, due...)
	s.released(due)
	s.await()
}

// Replace implements cache.ReflectorStore with a complete list of items or objects.
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

// without continues as if the list were empty, until there is one.
func (s *sink) without() {
	if s.health.listed() {
		s.listed()
	}
}

// Resync implements cache.ReflectorStore; the Store needs no reminders.
func (s *sink) Resync() error { return nil }

// largestReports limits the remembered objects with problems.
const largestReports = 4096

// reports passes problems on once per object, until they change: a slice with an invalid
// address may be updated every second.
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
