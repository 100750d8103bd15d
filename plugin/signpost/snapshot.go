package signpost

import (
	"context"
	"time"

	"github.com/signpost-dns/signpost/internal/snapshot"
)

// snapshotConfig says where a stanza wants the index to be kept; the zero value:
// nowhere. It is no part of feedConfig: stanzas with and without it share an index.
type snapshotConfig struct {
	dir    string
	maxAge time.Duration
}

// keeping is a snapshot that is being kept for one or more stanzas.
type keeping struct {
	keeper *snapshot.Keeper
	users  int
	stop   context.CancelFunc
	done   chan struct{} // nil until it runs
}

// keeper returns that of the lease's folder, made if there is none; nil if the
// lease wants no snapshot. With feeds locked.
func (f *feed) keeper(l *lease) *snapshot.Keeper {
	dir := l.snapshot.dir
	if dir == "" {
		return nil
	}
	if f.keeps[dir] == nil {
		f.keeps[dir] = &keeping{keeper: snapshot.New(f.store, snapshot.Options{
			Dir: dir, Identity: l.identity(), MaxAge: l.snapshot.maxAge, Heard: f.heard, Logf: logf,
		})}
	}
	return f.keeps[dir].keeper
}

// keep writes the index to the lease's folder from now on. With feeds locked.
func (f *feed) keep(l *lease) {
	keeper := f.keeper(l)
	if keeper == nil {
		return
	}
	k := f.keeps[l.snapshot.dir]
	if k.users++; k.done != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop, k.done = cancel, make(chan struct{})
	go func() {
		defer close(k.done)
		keeper.Run(ctx)
	}()
}

// leave takes a lease's share back, and returns what nobody keeps any more; nil
// if there is nothing. With feeds locked.
func (f *feed) leave(l *lease) *keeping {
	k := f.keeps[l.snapshot.dir]
	if k == nil {
		return nil
	}
	if k.users--; k.users > 0 {
		return nil
	}
	delete(f.keeps, l.snapshot.dir)
	return k
}

// lastWrite is how long a shutdown waits for the last snapshot: a disk that hangs
// must not hold it up.
const lastWrite = 5 * time.Second

// end writes a last snapshot and stops; nil is nothing to end.
func (k *keeping) end() {
	if k == nil {
		return
	}
	k.stop()
	select {
	case <-k.done:
	case <-time.After(lastWrite):
		log.Warningf("the last snapshot was not written within %v", lastWrite)
	}
}

// restore fills the index of a feed that does not run yet. With feeds locked.
func (f *feed) restore(l *lease) {
	if k := f.keeper(l); k != nil && k.Restore() {
		f.asOf = k.Status().Heard
	}
}

// heard tells when the source last confirmed what is in the index; zero if it
// never did. Until the first sync that is what the snapshot says of itself.
func (f *feed) heard() time.Time {
	if !f.store.Synced() {
		return f.asOf
	}
	var oldest time.Time
	for _, st := range f.source.Status() {
		if st.LastEvent.IsZero() {
			continue // in no namespace is anything to watch
		}
		if oldest.IsZero() || st.LastEvent.Before(oldest) {
			oldest = st.LastEvent
		}
	}
	return oldest
}
