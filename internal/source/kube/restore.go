package kube

import (
	"context"
	"fmt"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// restores counts how often the API was restored from a backup while the feed ran. A restored
// server accepts a watch from a version that it has not reached yet, and sends nothing
// until it has.
type restores struct {
	store *cluster.Store
	logf  func(level, format string, args ...any)

	mu    sync.Mutex
	count int
	next  chan struct{} // closed at the next restore
}

func newRestores(store *cluster.Store, logf func(level, format string, args ...any)) *restores {
	return &restores{store: store, logf: logf, next: make(chan struct{})}
}

// now returns the number of known restores, and a channel that closes at the next one.
func (r *restores) now() (count int, next <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, r.next
}

// found records that a watch that knew of this many restores was at one version and finds the
// server at a lower one. It returns the new number. The first watch to find a restore logs
// it and informs the Store.
func (r *restores) found(known int, was, is uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known == r.count {
		r.count++
		close(r.next)
		r.next = make(chan struct{})
		r.store.Rewind(is)
		r.logf("warning", "the API server is at resourceVersion %d after %d, so it was restored from a backup: listing everything again", is, was)
	}
	return r.count
}

// place is the progress of one watch. The lock of its sink guards it.
type place struct {
	text    string // resourceVersion; empty before the first list
	version uint64 // the same as a number; before the first list, that of a snapshot
	known   int    // number of restores when its content was listed
	listing int    // number of restores when its latest list started
}

// reached records a complete list at a version.
func (p *place) reached(text string, r *restores) {
	version := source.Version(text)
	if version != 0 && version < p.version {
		p.listing = r.found(p.known, p.version, version)
	}
	p.text, p.version, p.known = text, version, p.listing
}

// seeks records the start of a list.
func (s *sink) seeks() {
	now, _ := s.restores.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place.listing = now
}

// from returns the version to request, instead of the one that the Reflector remembers, which
// may be older than a restore. A list that replaces a snapshot must not come from an older
// cache.
func (s *sink) from(asked string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case asked == "0" && s.place.version != 0:
		return ""
	case asked == "" || asked == "0" || s.place.text == "":
		return asked
	}
	return s.place.text
}

// behind reports whether the server was restored since the list of this watch started, and
// returns a channel that closes at the next restore.
func (s *sink) behind() (bool, <-chan struct{}) {
	count, next := s.restores.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return count != s.place.listing, next
}

// catchUp lists again if the server was restored since this watch started.
func (l *link) catchUp(ctx context.Context) error {
	if behind, _ := l.sink.behind(); !behind {
		return nil
	}
	return l.listAnew(ctx)
}

// noteRestore asks for the server's version after a lost watch, with a list of one object, and records a restore. The next
// watch is open by then: client-go repeats a request whose connection fails, so a list before the watch may come from the
// server as it was.
func (l *link) noteRestore(ctx context.Context) error {
	l.sink.mu.Lock()
	at := l.sink.place
	l.sink.mu.Unlock()
	if !l.lost.Load() || at.version == 0 {
		return nil
	}
	page, err := l.page(ctx, l.timeouts.begin, metav1.ListOptions{Limit: 1})
	if err != nil {
		return err
	}
	m, err := meta.ListAccessor(page)
	if err != nil {
		return nil // it has no version
	}
	if is := source.Version(m.GetResourceVersion()); is != 0 && is < at.version {
		l.sink.restores.found(at.known, at.version, is)
	}
	return nil
}

// listAnew lists as the Reflector does at its start, but without its backoff.
func (l *link) listAnew(ctx context.Context) error {
	list, _, err := pager.New(pager.SimplePageFunc(func(o metav1.ListOptions) (runtime.Object, error) {
		return l.list(ctx, o)
	})).ListWithAlloc(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list %s of a restored API server: %w", l.resource.name, err)
	}
	m, err := meta.ListAccessor(list)
	if err != nil {
		return fmt.Errorf("list %s of a restored API server: %w", l.resource.name, err)
	}
	var items []any
	if err := meta.EachListItem(list, func(o runtime.Object) error {
		items = append(items, o)
		return nil
	}); err != nil {
		return fmt.Errorf("list %s of a restored API server: %w", l.resource.name, err)
	}
	return l.into.Replace(items, m.GetResourceVersion())
}

// UpdateResourceVersion implements cache.ResourceVersionUpdater. It is called after every
// event, bookmarks included. A bookmark says that nothing changed up to a version; the
// Store's own version moves with changes only.
func (s *sink) UpdateResourceVersion(text string) {
	s.health.heard()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place.text, s.place.version = text, source.Version(text)
}

// resumes records that the Store holds a snapshot of that version.
func (s *sink) resumes(version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place.version = version
}
