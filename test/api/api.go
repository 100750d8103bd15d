// Package api is a small Kubernetes API in the process of a test: lists and
// watches of the objects that a test puts there, over HTTP, in JSON or protobuf,
// with bookmarks, watch lists, label and field selectors, expired versions and
// dropped connections. The in-tree plugin kubernetes and ours see the same events
// from it. It must not validate, default or authorize: tests that need the real
// thing use package apiserver.
package api

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// Server is the API. Its methods are safe for concurrent use.
type Server struct {
	URL string // the same after Stop and Start

	t    testing.TB
	addr string
	stop chan struct{} // closed at the end of the test

	mu       sync.Mutex
	http     *httptest.Server // nil while stopped
	version  uint64
	expired  uint64 // versions below this are gone: 410
	objects  map[resource]map[string]runtime.Object
	history  []event
	changed  chan struct{} // closed and replaced when the history grows
	drop     chan struct{} // closed and replaced by DropConnections
	fail     chan struct{} // closed and replaced by FailWatches, with failure set
	failure  metav1.Status
	refuse   int
	refused  map[string]int    // statuses for requests of one kind, by its plural
	guard    func(Request) int // nil: everybody may do everything
	instead  http.Handler      // answers in place of the API; nil: none does
	noStream bool
	requests []Request
	watches  int
}

// event is one change, with what the object was before.
type event struct {
	version uint64
	of      resource
	kind    watch.EventType
	object  runtime.Object
	before  runtime.Object // nil if there was none
}

// New starts an API without objects that ends with the test.
func New(t testing.TB) *Server {
	s := &Server{
		t: t, version: 1,
		objects: map[resource]map[string]runtime.Object{}, refused: map[string]int{},
		stop: make(chan struct{}), changed: make(chan struct{}), drop: make(chan struct{}), fail: make(chan struct{}),
		addr: "127.0.0.1:0",
	}
	s.Start()
	t.Cleanup(func() {
		close(s.stop)
		s.Stop()
	})
	return s
}

// Put creates or replaces objects. It keeps copies, and sets their resourceVersion.
func (s *Server) Put(objects ...runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		o = o.DeepCopyObject()
		r, key := s.identify(o)
		if s.objects[r] == nil {
			s.objects[r] = map[string]runtime.Object{}
		}
		before := s.objects[r][key]
		kind := watch.Modified
		if before == nil {
			kind = watch.Added
		}
		s.record(event{of: r, kind: kind, object: o, before: before})
		s.objects[r][key] = o
	}
}

// Delete removes objects by kind, namespace and name.
func (s *Server) Delete(objects ...runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range objects {
		r, key := s.identify(o)
		before := s.objects[r][key]
		if before == nil {
			continue
		}
		s.record(event{of: r, kind: watch.Deleted, object: before.DeepCopyObject(), before: before})
		delete(s.objects[r], key)
	}
}

// Bookmark tells all watches the current version.
func (s *Server) Bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range kinds {
		s.record(event{of: r, kind: watch.Bookmark, object: newObject(r)})
	}
}

// record gives the change a version and wakes the watches.
func (s *Server) record(e event) {
	s.version++
	e.version = s.version
	setVersion(e.object, e.version)
	s.history = append(s.history, e)
	close(s.changed)
	s.changed = make(chan struct{})
}

// Expire forgets the history: watches from an older version get 410 Gone.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history, s.expired = nil, s.version
}

// Restore makes the API one that was restored from a backup: at a version, with these
// objects and no other. It is to be stopped, as a server is while that happens.
func (s *Server) Restore(version uint64, objects ...runtime.Object) {
	s.mu.Lock()
	s.version, s.expired, s.history = version-uint64(len(objects)), 0, nil
	clear(s.objects)
	s.mu.Unlock()
	s.Put(objects...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.history = nil
}

// Version is the resourceVersion of the newest change.
func (s *Server) Version() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// setVersion sets the resourceVersion of an object that identify knows.
func setVersion(o runtime.Object, version uint64) {
	if m, err := meta.Accessor(o); err == nil {
		m.SetResourceVersion(strconv.FormatUint(version, 10))
	}
}
