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

// restores counts how often the API was restored from a backup while the feed ran. A
// server that was restored takes a watch from a version that it has not reached yet, and
// sends nothing until it has.
type restores struct {
	store *cluster.Store
	logf  func(level, format string, args ...any)

	mu    sync.Mutex
	count int
	next  chan struct{} // closed at the next one
}

func newRestores(store *cluster.Store, logf func(level, format string, args ...any)) *restores {
	return &restores{store: store, logf: logf, next: make(chan struct{})}
}

// now returns how many restores are known, and what is closed when there is one more.
func (r *restores) now() (count int, next <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, r.next
}

// found notes that a watch which knows of so many restores was at one version and finds
// the server at a lower one, and returns how many there are now. The first watch that
// finds out tells people and the Store.
func (r *restores) found(known int, was, is uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known == r.count {
		r.count++
		close(r.next)
		r.next = make(chan struct{})
		r.store.Rewind(is)
		r.logf("warning", "the API server is at resourceVersion %d after %d, so it was restored from a backup: everything is listed anew", is, was)
	}
	return r.count
}

// place is how far one watch has come. With the lock of its sink held.
type place struct {
	text    string // the resourceVersion; empty before the first list
	version uint64 // the same as a number, or that of a snapshot before the first list
	known   int    // restores when what it has was listed
	listing int    // restores when its latest list began
}

// reached notes a complete list at a version.
func (p *place) reached(text string, r *restores) {
	version := source.Version(text)
	if version != 0 && version < p.version {
		p.listing = r.found(p.known, p.version, version)
	}
	p.text, p.version, p.known = text, version, p.listing
}

// seeks notes that a list begins.
func (s *sink) seeks() {
	now, _ := s.restores.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place.listing = now
}

// from is the version from which a request goes on, in place of the one that the
// Reflector remembers: that may be of before a restore. A list that replaces a snapshot
// must not come from a cache that is older.
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

// behind reports whether the server was restored since the list of this watch began, and
// returns what is closed when it is again.
func (s *sink) behind() (bool, <-chan struct{}) {
	count, next := s.restores.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return count != s.place.listing, next
}

// catchUp lists anew where the server was restored since this watch has begun. It asks
// for the server's version when a watch was lost: by a list of one object.
func (l *link) catchUp(ctx context.Context) error {
	behind, _ := l.sink.behind()
	if !behind {
		l.sink.mu.Lock()
		at := l.sink.place
		l.sink.mu.Unlock()
		if !l.lost.Load() || at.version == 0 {
			return nil
		}
		page, err := l.page(ctx, l.patience.begin, metav1.ListOptions{Limit: 1})
		if err != nil {
			return err
		}
		if m, err := meta.ListAccessor(page); err != nil || source.Version(m.GetResourceVersion()) >= at.version {
			return nil // a version that is no number says nothing
		}
	}
	return l.listAnew(ctx)
}

// listAnew does what the Reflector does at its start, which would wait before.
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

// UpdateResourceVersion implements cache.ResourceVersionUpdater: it is called
// after every event, so it hears of bookmarks too. They say that nothing changed
// up to a version; the Store's own version moves with changes only.
func (s *sink) UpdateResourceVersion(text string) {
	s.health.heard()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place.text, s.place.version = text, source.Version(text)
}

// resumes notes that the Store holds a snapshot of that version.
func (s *sink) resumes(version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place.version = version
}
