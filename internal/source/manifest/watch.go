package manifest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Delays before the feed reads. Editors and `cp` write in steps, so a file is read when the
// folder was quiet for settle, but not later than maxDelay after the first event. The feed
// also scans the folder without events, because links can lead to files in unwatched folders
// and network file systems send no events; it scans more often without inotify.
const (
	settle      = 20 * time.Millisecond
	maxDelay    = time.Second
	pollWatched = 5 * time.Second
	pollBlind   = time.Second
)

// Run keeps the Store equal to the folder until ctx is done. All its goroutines have ended
// when it returns.
func (f *Feed) Run(ctx context.Context) {
	w := newWatcher(f)
	defer w.close()
	w.open()
	w.poll = time.NewTicker(w.interval())
	defer w.poll.Stop()
	w.timer = time.NewTimer(0) // what changed since New
	defer w.timer.Stop()
	w.all = true
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-w.events:
			w.event(ev)
		case err := <-w.errors:
			// An overflow: events are lost.
			f.options.Logf("debug", "manifests: watching %s: %v; scanning it", f.dir, err)
			w.note("")
		case <-w.poll.C:
			w.note("")
		case <-w.timer.C:
			w.flush()
		}
	}
}

// watcher collects events of the folder until it is time to read. Only the goroutine of Run
// uses it.
type watcher struct {
	feed    *Feed
	inotify *fsnotify.Watcher // nil: polling only
	events  chan fsnotify.Event
	errors  chan error
	watched map[string]os.FileInfo // folders
	poll    *time.Ticker
	timer   *time.Timer

	paths map[string]struct{} // to be read
	all   bool                // scan the whole folder
	first time.Time           // time of the oldest event; zero: none
}

func newWatcher(f *Feed) *watcher {
	return &watcher{feed: f, paths: map[string]struct{}{}, watched: map[string]os.FileInfo{}}
}

func (w *watcher) interval() time.Duration {
	if w.inotify == nil {
		return pollBlind
	}
	return pollWatched
}

func (w *watcher) open() {
	inotify, err := w.feed.newWatcher()
	if err != nil {
		w.feed.options.Logf("warning", "manifests: watching %s: %v; scanning it every %v instead", w.feed.dir, err, pollBlind)
		return
	}
	w.inotify, w.events, w.errors = inotify, inotify.Events, inotify.Errors
}

func (w *watcher) close() {
	if w.inotify != nil {
		w.inotify.Close()
	}
	w.inotify, w.events, w.errors = nil, nil, nil
}

// event records an event. A name that is no manifest may be a folder or a link to one (the
// ..data of a mounted ConfigMap): then everything may have changed.
func (w *watcher) event(ev fsnotify.Event) {
	name := filepath.Base(ev.Name)
	switch {
	case isManifest(name):
		w.note(ev.Name)
	case isHidden(name) && !strings.HasPrefix(name, ".."):
	case ev.Has(fsnotify.Create) || ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename):
		w.note("")
	}
}

// note records a path, or with "" everything, and restarts the timer.
func (w *watcher) note(path string) {
	now := time.Now()
	if w.first.IsZero() {
		w.first = now
	}
	if path == "" {
		w.all = true
	} else {
		w.paths[path] = struct{}{}
	}
	w.timer.Reset(min(settle, max(0, maxDelay-now.Sub(w.first))))
}

// flush reads the recorded paths.
func (w *watcher) flush() {
	var paths []string
	for path := range w.paths {
		paths = append(paths, path)
	}
	clear(w.paths)
	all := w.all
	w.all, w.first = false, time.Time{}
	if len(paths) > 0 {
		_ = w.feed.reload(paths) // already logged
	}
	if all {
		if folders, err := w.feed.scan(); err == nil {
			w.watch(folders)
		}
	}
}

// watch watches exactly these folders. After adding a folder it scans everything again, because
// files may have appeared before the watch.
func (w *watcher) watch(folders []string) {
	if w.inotify == nil {
		return
	}
	now := map[string]os.FileInfo{}
	for _, folder := range folders {
		info, err := os.Stat(folder)
		if err != nil {
			continue
		}
		now[folder] = info
		if old := w.watched[folder]; old != nil && os.SameFile(old, info) {
			continue
		}
		_ = w.inotify.Remove(folder) // a new folder with the same name
		switch err := w.inotify.Add(folder); {
		case errors.Is(err, fs.ErrNotExist): // removed after the scan
			delete(now, folder)
			continue
		case err != nil:
			w.feed.options.Logf("warning", "manifests: watching %s: %v; scanning %s every %v instead",
				folder, err, w.feed.dir, pollBlind)
			w.close()
			w.poll.Reset(w.interval())
			return
		}
		w.note("")
	}
	for folder := range w.watched {
		if now[folder] == nil {
			_ = w.inotify.Remove(folder) // it may exist under another name
		}
	}
	w.watched = now
}
