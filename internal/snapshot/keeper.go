package snapshot

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// How often a snapshot is written. After a change it is written at most once per pause, and
// writing takes at most one part in share of the time. Without a change it is written once
// per refresh, which keeps the age of the data current. After errors the delay before the
// next attempt grows up to maxDelay.
const (
	look     = time.Second
	pause    = 10 * time.Second
	share    = 20
	refresh  = 5 * time.Minute
	maxDelay = 5 * time.Minute
)

// Options configure a Keeper.
type Options struct {
	Dir string // created if it does not exist

	// Identity describes what feeds the Store: the API and its authority, the selectors,
	// the kinds. Restore refuses a snapshot with a different identity.
	Identity string
	// MaxAge is the largest age of data that Restore accepts; 0: any age.
	MaxAge time.Duration
	// Heard returns when the source last confirmed the contents of the Store; the zero
	// time: never. One goroutine at a time calls it.
	Heard func() time.Time
	// Logf writes a log line; the level is info, warning or error. It may be nil.
	Logf func(level, format string, args ...any)
}

// Keeper keeps one Store in one file. Make one with New.
type Keeper struct {
	store   *cluster.Store
	options Options
	path    string
	now     func() time.Time

	restored time.Time // zero: nothing was restored, or the first sync has replaced it

	// For the writer only: what was saved, when, and when the next attempt may start.
	changes uint64
	heard   time.Time
	saved   time.Time
	next    time.Time
	delay   time.Duration // after an error

	mu     sync.Mutex
	status Status
}

// Status is the state of a Keeper.
type Status struct {
	Load  Reason    // the result of Restore; empty before it
	Heard time.Time // when the restored data were confirmed; zero if there are none

	Written  time.Time     // the last file; zero if there is none of this process
	Size     int64         // its bytes
	Took     time.Duration // to write it
	Writes   uint64
	Failures uint64
	Err      error // of the last attempt to write
}

// New returns a Keeper. It does not touch the disk.
func New(store *cluster.Store, o Options) *Keeper {
	if o.Logf == nil {
		o.Logf = func(string, string, ...any) {}
	}
	return &Keeper{store: store, options: o, path: FileName(o.Dir, o.Identity), now: time.Now}
}

// Status returns the state of the Keeper. It is safe for concurrent use.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// Restore puts the snapshot into the Store and marks the Store as restored. It reports
// whether there was a usable snapshot. Call it before the Store's feed starts.
func (k *Keeper) Restore() bool {
	begin := k.now()
	h, objects, size, err := load(k.path, func(h *Header) error { return k.accept(h, begin) })
	if err != nil {
		k.refused(err)
		return false
	}
	k.store.Put(h.Version, objects...)
	k.store.MarkRestored()
	k.restored = begin
	k.mu.Lock()
	k.status.Load, k.status.Heard, k.status.Size = Taken, h.Heard, size
	k.mu.Unlock()
	k.options.Logf("info", "snapshot %s: took %d objects of resourceVersion %d in %v, as they were %v ago; they are the answer until the first sync",
		k.path, len(objects), h.Version, k.now().Sub(begin).Round(time.Millisecond), age(h, begin))
	return true
}

// accept checks a snapshot by its header.
func (k *Keeper) accept(h *Header, now time.Time) error {
	if h.Identity != k.options.Identity {
		return refuse(Foreign, "it is of %s: want one of %s", h.Identity, k.options.Identity)
	}
	if limit := k.options.MaxAge; limit > 0 && age(h, now) > limit {
		return refuse(Old, "its data are %v old: want at most %v", age(h, now), limit)
	}
	return nil
}

// age returns the age of the data. It is not negative, even if the clock was set back.
func age(h *Header, now time.Time) time.Duration {
	return max(0, now.Sub(h.Heard)).Round(time.Second)
}

func (k *Keeper) refused(err error) {
	reason := Unreadable
	var r *Refusal
	if errors.As(err, &r) {
		reason = r.Reason
	}
	k.mu.Lock()
	k.status.Load = reason
	k.mu.Unlock()
	if reason == None {
		k.options.Logf("info", "snapshot %s: there is none yet of this cluster and configuration", k.path)
		return
	}
	k.options.Logf("warning", "snapshot %s: not taken: %v; starting without it", k.path, err)
}

// Run writes snapshots until ctx is done, and then once more if something changed.
func (k *Keeper) Run(ctx context.Context) {
	tidy(k.options.Dir, k.path, k.now())
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			k.finish()
			return
		case <-ticker.C:
			k.tick()
		}
	}
}

// tick writes a snapshot if something changed and it is time for one.
func (k *Keeper) tick() {
	now := k.now()
	if !k.restored.IsZero() && k.store.Synced() {
		k.options.Logf("info", "snapshot %s: replaced by the first sync, %v after it was taken", k.path, now.Sub(k.restored).Round(look))
		k.restored = time.Time{}
	}
	heard, changed := k.news()
	stale := heard.After(k.heard) && now.Sub(k.saved) >= refresh
	if k.store.Synced() && (changed || stale) && !now.Before(k.next) {
		k.write(heard)
	}
}

// finish writes a last snapshot if something changed.
func (k *Keeper) finish() {
	if heard, changed := k.news(); k.store.Synced() && changed {
		k.write(heard)
	}
}

// news returns when the source last confirmed the Store, and whether the Store changed since
// the last snapshot. Callers write only a synced Store: otherwise an old state would get a
// new date.
func (k *Keeper) news() (heard time.Time, changed bool) {
	return k.options.Heard(), k.store.Changes() != k.changes || k.saved.IsZero()
}

// write makes one attempt to write a snapshot.
func (k *Keeper) write(heard time.Time) {
	begin := k.now()
	changes := k.store.Changes() // before the contents: a change in between is written again
	if newer := heardOf(k.path); newer.After(heard) && newer.Before(begin.Add(time.Minute)) {
		k.next = begin.Add(pause) // another process has newer data; a date in the future is wrong
		return
	}
	version, objects := k.store.Contents()
	h := Header{Identity: k.options.Identity, Written: begin, Heard: heard, Version: version}
	size, err := save(k.path, h, objects)
	took := k.now().Sub(begin)
	if err != nil {
		k.delay = min(max(2*k.delay, pause), maxDelay)
		k.next = begin.Add(k.delay)
	} else {
		k.changes, k.heard, k.saved, k.delay = changes, heard, begin, 0
		k.next = begin.Add(max(pause, share*took))
	}
	k.record(begin, took, size, err)
}

// record updates the status after an attempt, and logs the first failure and the first
// success after it.
func (k *Keeper) record(begin time.Time, took time.Duration, size int64, err error) {
	k.mu.Lock()
	before := k.status.Err
	k.status.Err = err
	if err != nil {
		k.status.Failures++
	} else {
		k.status.Writes++
		k.status.Written, k.status.Took, k.status.Size = begin, took, size
	}
	k.mu.Unlock()
	switch {
	case err != nil && before == nil:
		k.options.Logf("error", "snapshot %s: %v: want a folder on a local disk that this process can write; names are still answered, and writing is tried again",
			filepath.Base(k.path), err)
	case err == nil && before != nil:
		k.options.Logf("info", "snapshot %s: written again", k.path)
	}
}
