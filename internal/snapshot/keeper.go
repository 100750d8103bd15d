package snapshot

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// How often a snapshot is written: when something changed, but at most once in
// pause, and not so that writing takes more than a part in share of the time;
// without a change once in refresh, which keeps the age of the data true. After
// an error the next attempt waits up to patience.
const (
	look     = time.Second
	pause    = 10 * time.Second
	share    = 20
	refresh  = 5 * time.Minute
	patience = 5 * time.Minute
)

// Options are what a Keeper needs to know.
type Options struct {
	Dir string // made if it is not there

	// Identity says in words what feeds the Store: the API and its authority, the
	// selectors, the kinds. A snapshot of any other is not taken.
	Identity string
	// MaxAge is how old data may be to be taken; 0: any age.
	MaxAge time.Duration
	// Heard tells when the source last confirmed what is in the Store; the zero
	// time: never. It is called from one goroutine at a time.
	Heard func() time.Time
	// Logf writes a line for people; the level is info, warning or error. It may be nil.
	Logf func(level, format string, args ...any)
}

// Keeper keeps one Store in one file. Make one with New.
type Keeper struct {
	store   *cluster.Store
	options Options
	path    string
	now     func() time.Time

	restored time.Time // zero: nothing was, or the first sync has replaced it

	// The writer's: what was saved, when, and when the next attempt may be.
	changes uint64
	heard   time.Time
	saved   time.Time
	next    time.Time
	delay   time.Duration // after an error

	mu     sync.Mutex
	status Status
}

// Status tells how a Keeper does.
type Status struct {
	Load  Reason    // what became of the file at the start; empty before Restore
	Heard time.Time // when the data taken from it were confirmed; zero if none were

	Written  time.Time     // the last file; zero if there is none of this process
	Size     int64         // its bytes
	Took     time.Duration // to write it
	Writes   uint64
	Failures uint64
	Err      error // of the last attempt to write
}

// New prepares a Keeper; it touches nothing.
func New(store *cluster.Store, o Options) *Keeper {
	if o.Logf == nil {
		o.Logf = func(string, string, ...any) {}
	}
	return &Keeper{store: store, options: o, path: FileName(o.Dir, o.Identity), now: time.Now}
}

// Status may be called from any goroutine.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// Restore puts the snapshot into the Store and marks it as restored, and reports
// whether there was one to take. It must be done before the Store's feed begins.
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

// accept decides about a snapshot by its header.
func (k *Keeper) accept(h *Header, now time.Time) error {
	if h.Identity != k.options.Identity {
		return refuse(Foreign, "it is of %s: want one of %s", h.Identity, k.options.Identity)
	}
	if limit := k.options.MaxAge; limit > 0 && age(h, now) > limit {
		return refuse(Old, "its data are %v old: want at most %v", age(h, now), limit)
	}
	return nil
}

// age is that of the data; a clock that was set back does not make it negative.
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

// Run writes the snapshot when it is time, until ctx is done, and then once more
// if something changed.
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

// tick writes if there is a reason to and the time has come.
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

// finish writes what changed since.
func (k *Keeper) finish() {
	if heard, changed := k.news(); k.store.Synced() && changed {
		k.write(heard)
	}
}

// news tells when the source was last heard, and whether the Store was written
// since the last snapshot. What is not synced is not worth a file: it would give
// an old state a new date.
func (k *Keeper) news() (heard time.Time, changed bool) {
	return k.options.Heard(), k.store.Changes() != k.changes || k.saved.IsZero()
}

// write makes one attempt.
func (k *Keeper) write(heard time.Time) {
	begin := k.now()
	changes := k.store.Changes() // before the contents: what changes meanwhile is written again
	if newer := heardOf(k.path); newer.After(heard) && newer.Before(begin.Add(time.Minute)) {
		k.next = begin.Add(pause) // another process knows better; a date in the future is nobody's
		return
	}
	version, objects := k.store.Contents()
	h := Header{Identity: k.options.Identity, Written: begin, Heard: heard, Version: version}
	size, err := save(k.path, h, objects)
	took := k.now().Sub(begin)
	if err != nil {
		k.delay = min(max(2*k.delay, pause), patience)
		k.next = begin.Add(k.delay)
	} else {
		k.changes, k.heard, k.saved, k.delay = changes, heard, begin, 0
		k.next = begin.Add(max(pause, share*took))
	}
	k.tell(begin, took, size, err)
}

// tell notes an attempt, and writes a line when it becomes another story.
func (k *Keeper) tell(begin time.Time, took time.Duration, size int64, err error) {
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
		k.options.Logf("error", "snapshot %s: %v: want a folder on a local disk that this process can write; answers go on, and so do the attempts",
			filepath.Base(k.path), err)
	case err == nil && before != nil:
		k.options.Logf("info", "snapshot %s: written again", k.path)
	}
}
