package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// publish writes a version of a mounted ConfigMap and swaps it in the way the kubelet does: one
// rename of a link.
func (l *lab) publish(version, content string) {
	l.Helper()
	l.write(version+"/web.yaml", content)
	l.do(os.Symlink(version, filepath.Join(l.dir, "..data_tmp")))
	l.do(os.Rename(filepath.Join(l.dir, "..data_tmp"), filepath.Join(l.dir, "..data")))
}

// goAway moves the folder aside, as a volume that is unmounted.
func (l *lab) goAway() {
	l.Helper()
	l.do(os.Rename(l.dir, l.dir+"-away"))
}

// The folder may go when its files are known to be read, and not read yet.
func TestFilesThatGoWithTheFolder(t *testing.T) {
	l := newLab(t)
	l.dir = filepath.Join(l.dir, "mounted")
	l.write("a.yaml", doc("a", "10.0.0.1"))
	l.open()
	l.goAway()
	path := filepath.Join(l.dir, "a.yaml")
	if err := l.feed.reload([]string{path}); err == nil || !l.feed.Status()[0].Failing {
		t.Errorf("error %v, status %+v, want a folder that is away", err, l.feed.Status()[0])
	}
	l.ip("a", "10.0.0.1")
	l.do(os.Mkdir(l.dir, 0o755))
	l.do(l.feed.reload([]string{path}))
	l.ip("a", "")
}

// What goes before its watch is there needs none: nobody is told, and the rest is still watched.
func TestFoldersComeAndGo(t *testing.T) {
	l := newLab(t)
	l.write("a.yaml", doc("a", "10.0.0.1"))
	l.open()
	w := newWatcher(l.feed)
	w.timer = time.NewTimer(time.Hour)
	w.open()
	defer w.close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for i := range 2000 {
			names := []string{fmt.Sprint("sub", i), fmt.Sprint("other", i)}
			l.write(names[0]+"/deep/b.yaml", doc("b", "10.0.0.2"))
			l.do(os.Rename(filepath.Join(l.dir, names[0]), filepath.Join(l.dir, names[1])))
			l.do(os.RemoveAll(filepath.Join(l.dir, names[1])))
		}
	}()
	for busy := true; busy; {
		select {
		case <-gone:
			busy = false
		case <-w.events:
		default:
		}
		w.all = true
		w.flush()
	}
	l.ip("b", "")
	if said := l.said(); len(said) > 0 || w.inotify == nil || len(w.watched) != 1 {
		t.Errorf("said %q, %d folders watched, want 1", said, len(w.watched))
	}
}

// A ConfigMap is exchanged while it is read: at no moment is its Service gone.
func TestMountedConfigMapIsAlwaysThere(t *testing.T) {
	l := newLab(t)
	publish := func(i int) string {
		version := fmt.Sprint("..", i)
		l.publish(version, doc("web", fmt.Sprintf("10.0.%d.%d", i/256, i%256)))
		return filepath.Join(l.dir, version)
	}
	last := publish(0)
	l.do(os.Symlink("..data/web.yaml", filepath.Join(l.dir, "web.yaml")))
	l.open()
	published := make(chan struct{})
	go func() {
		defer close(published)
		for i := range 2000 {
			next := publish(i + 1)
			l.do(os.RemoveAll(last))
			last = next
		}
	}()
	path := filepath.Join(l.dir, "web.yaml")
	for busy := true; busy; {
		select {
		case <-published:
			busy = false
		default:
		}
		l.do(l.feed.reload([]string{path}))
		if l.store.Service("default", "web") == nil {
			t.Error("web is gone")
			break
		}
	}
	<-published
	l.ip("web", "10.0.7.208")
}
