package manifest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o644) }

// lab is a folder with a feed on it.
type lab struct {
	*testing.T
	dir   string
	store *cluster.Store
	feed  *Feed

	mu  sync.Mutex
	log []string
}

func (l *lab) write(name, content string) {
	l.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		l.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		l.Fatal(err)
	}
}

func (l *lab) do(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) options() Options {
	return Options{
		Report: func(p source.Problem) { l.note("problem " + p.String()) },
		Logf:   func(level, format string, args ...any) { l.note(level + " " + fmt.Sprintf(format, args...)) },
	}
}

func (l *lab) note(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, strings.ReplaceAll(line, l.dir, "DIR"))
}

// said returns what was logged since, without debug lines.
func (l *lab) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := slices.DeleteFunc(l.log, func(s string) bool { return strings.HasPrefix(s, "debug") })
	l.log = nil
	return out
}

func (l *lab) open() {
	l.Helper()
	var err error
	l.store = cluster.NewStore()
	l.feed, err = New(l.dir, l.store, l.options())
	l.do(err)
}

// run runs the feed until the test ends.
func (l *lab) run() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.feed.Run(ctx)
	}()
	l.Cleanup(func() {
		stop()
		<-done
	})
}

// ip waits until the ClusterIPs of a Service in default are so; "" is no Service.
func (l *lab) ip(name, want string) {
	l.Helper()
	got := ""
	l.until(func() bool {
		got = ""
		if e := l.store.Service("default", name); e != nil {
			got = strings.Trim(fmt.Sprint(e.Service.ClusterIPs), "[]")
		}
		return got == want
	}, func() string { return fmt.Sprintf("service %s has %q, want %q", name, got, want) })
}

func (l *lab) until(ok func() bool, why func() string) {
	l.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.Fatal(why())
		}
	}
}

func newLab(t *testing.T) *lab { return &lab{T: t, dir: t.TempDir()} }

func TestFirstLoad(t *testing.T) {
	l := newLab(t)
	l.write("a.yaml", doc("a", "10.0.0.1")+"---\n"+doc("b", "10.0.0.2"))
	l.write("b.yaml", doc("a", "10.0.0.3"))
	l.write("broken.yaml", doc("c", "10.0.0.4")+"---\nhello\n")
	l.write("sub/d.yaml", doc("d", "10.0.0.5"))
	l.write("sub/unknown.json", `{"apiVersion":"v1","kind":"Secret"}`)
	l.open()
	if !l.store.Synced() {
		t.Error("not synced")
	}
	for name, want := range map[string]string{"a": "10.0.0.3", "b": "10.0.0.2", "c": "", "d": "10.0.0.5"} {
		l.ip(name, want)
	}
	if got := l.feed.Files(); got != (Files{Read: 5, Broken: 1, Objects: 3, PassedOver: 1}) {
		t.Errorf("%+v", got)
	}
	said := l.said()
	slices.Sort(said)
	want := []string{
		`problem DIR/b.yaml:1: services default/a: also in "DIR/a.yaml:1": want each object in one place; the later one counts (file name, then line)`,
		"problem DIR/broken.yaml:3: this is no object of the Kubernetes API: want apiVersion and kind; the file is ignored until then",
	}
	if !slices.Equal(said, want) {
		t.Errorf("said\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
	for _, st := range l.feed.Status() {
		if !st.Synced || st.LastEvent.IsZero() || st.Failing || st.Failures != 1 || !strings.Contains(st.LastError, "broken.yaml:3") {
			t.Errorf("%+v", st)
		}
	}
	if n := len(l.feed.Status()); n != 8 {
		t.Errorf("status of %d kinds", n)
	}
}

func TestNewRefuses(t *testing.T) {
	l := newLab(t)
	l.write("file.yaml", "")
	for _, path := range []string{filepath.Join(l.dir, "none"), filepath.Join(l.dir, "file.yaml")} {
		store := cluster.NewStore()
		_, err := New(path, store, Options{})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "want a folder") {
			t.Errorf("%s: %v", path, err)
		}
		if store.Synced() {
			t.Errorf("%s: synced", path)
		}
	}
}

// TestVersionMoves: with and without resourceVersions the version only grows.
func TestVersionMoves(t *testing.T) {
	l := newLab(t)
	l.write("a.yaml", doc("a", "10.0.0.1"))
	past := time.Unix(1_000_000, 0)
	l.do(os.Chtimes(filepath.Join(l.dir, "a.yaml"), past, past))
	l.open()
	step := func(want uint64, edit func()) {
		t.Helper()
		edit()
		_, err := l.feed.scan()
		l.do(err)
		if got := l.store.Version(); got != want {
			t.Errorf("version %d, want %d", got, want)
		}
	}
	step(1_000_000, func() {})
	step(1_000_001, func() {
		l.write("a.yaml", doc("a", "10.0.0.11"))
		l.do(os.Chtimes(filepath.Join(l.dir, "a.yaml"), past, past))
	})
	step(1_000_001, func() { l.write("a.yaml", "# the same\n"+doc("a", "10.0.0.11")) })
	step(9_000_000_000, func() {
		l.write("b.yaml", `{apiVersion: v1, kind: Namespace, metadata: {name: x, resourceVersion: "9000000000"}}`)
	})
	step(9_000_000_001, func() { l.do(os.Remove(filepath.Join(l.dir, "a.yaml"))) })
	step(9_000_000_001, func() {})
}

// TestOnlyChangesReachTheStore: what a touched file says as before stays the
// same object in memory.
func TestOnlyChangesReachTheStore(t *testing.T) {
	l := newLab(t)
	l.write("a.yaml", doc("a", "10.0.0.1")+"---\n"+doc("b", "10.0.0.2"))
	l.open()
	a, b := l.store.Service("default", "a"), l.store.Service("default", "b")
	l.write("a.yaml", "# comment\n---\n"+doc("a", "10.0.0.1")+"---\n"+doc("b", "10.0.0.3"))
	_, err := l.feed.scan()
	l.do(err)
	if l.store.Service("default", "a") != a {
		t.Error("an unchanged object was put again")
	}
	if l.store.Service("default", "b") == b {
		t.Error("a changed object was not put")
	}
}

func TestWatching(t *testing.T) {
	for _, c := range []struct {
		name    string
		inotify bool
	}{{"inotify", true}, {"no inotify", false}} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.write("a.yaml", doc("a", "10.0.0.1"))
			l.open()
			if !c.inotify {
				l.feed.newWatcher = func() (*fsnotify.Watcher, error) { return nil, errors.New("too many open files") }
			}
			l.run()
			l.ip("a", "10.0.0.1")
			l.write("a.yaml", doc("a", "10.0.0.21"))
			l.ip("a", "10.0.0.21")
			l.write("tmp", doc("a", "10.0.0.31"))
			l.do(os.Rename(filepath.Join(l.dir, "tmp"), filepath.Join(l.dir, "a.yaml")))
			l.ip("a", "10.0.0.31")
			l.write("sub/deep/b.yaml", doc("b", "10.0.0.2"))
			l.ip("b", "10.0.0.2")
			l.write("sub/deep/b.yaml", doc("b", "10.0.0.22"))
			l.ip("b", "10.0.0.22")
			l.do(os.Rename(filepath.Join(l.dir, "sub"), filepath.Join(l.dir, "other")))
			l.write("other/deep/b.yaml", doc("b", "10.0.0.222"))
			l.ip("b", "10.0.0.222")
			l.do(os.RemoveAll(filepath.Join(l.dir, "other")))
			l.ip("b", "")
			l.do(os.Remove(filepath.Join(l.dir, "a.yaml")))
			l.ip("a", "")
			said := l.said()
			if c.inotify && len(said) > 0 || !c.inotify && !slices.Equal(said, []string{"warning manifests: watching DIR: too many open files; scanning it every 1s instead"}) {
				t.Errorf("said %q", said)
			}
		})
	}
}

// TestBrokenFileKeepsWhatItSaid, is reported once with its line, and comes back.
func TestBrokenFileKeepsWhatItSaid(t *testing.T) {
	l := newLab(t)
	l.write("a.yaml", doc("a", "10.0.0.1"))
	l.open()
	l.run()
	l.ip("a", "10.0.0.1")
	l.write("a.yaml", "\n\nhello\n")
	broken := func(n int) {
		t.Helper()
		l.until(func() bool { return l.feed.Files().Broken == n }, func() string { return fmt.Sprintf("%+v, want %d broken", l.feed.Files(), n) })
	}
	broken(1)
	l.ip("a", "10.0.0.1")
	l.write("b.yaml", doc("b", "10.0.0.2")) // a second look does not report again
	l.ip("b", "10.0.0.2")
	l.write("a.yaml", doc("a", "10.0.0.3"))
	l.ip("a", "10.0.0.3")
	broken(0)
	want := []string{
		"problem DIR/a.yaml:3: this is no object of the Kubernetes API: want apiVersion and kind; the file keeps its last valid content",
		"info manifests: DIR/a.yaml is valid again",
	}
	if said := l.said(); !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
	// A broken file that goes takes its objects along.
	l.write("a.yaml", "{")
	broken(1)
	l.do(os.Remove(filepath.Join(l.dir, "a.yaml")))
	l.ip("a", "")
	broken(0)
}

// TestMountedConfigMap swaps content the way the kubelet does.
func TestMountedConfigMap(t *testing.T) {
	l := newLab(t)
	l.publish("..2026_01", doc("web", "10.0.0.1"))
	l.do(os.Symlink("..data/web.yaml", filepath.Join(l.dir, "web.yaml")))
	l.open()
	l.run()
	l.ip("web", "10.0.0.1")
	for i := 2; i < 6; i++ {
		ip := fmt.Sprintf("10.0.0.%d", i)
		l.publish(fmt.Sprintf("..2026_%02d", i), doc("web", ip))
		l.do(os.RemoveAll(filepath.Join(l.dir, fmt.Sprintf("..2026_%02d", i-1))))
		l.ip("web", ip)
	}
	if got := l.feed.Files(); got.Read != 1 {
		t.Errorf("%+v", got)
	}
}

// TestFolderGoesAndComesBack: a volume that is away is no order to forget every name.
func TestFolderGoesAndComesBack(t *testing.T) {
	l := newLab(t)
	l.dir = filepath.Join(l.dir, "mounted")
	l.write("a.yaml", doc("a", "10.0.0.1"))
	l.open()
	l.run()
	l.ip("a", "10.0.0.1")
	l.goAway()
	failing := func(want bool) {
		t.Helper()
		l.until(func() bool { return l.feed.Status()[0].Failing == want }, func() string { return fmt.Sprintf("%+v", l.feed.Status()[0]) })
	}
	failing(true)
	l.ip("a", "10.0.0.1")
	l.write("a.yaml", doc("a", "10.0.0.2"))
	l.ip("a", "10.0.0.2")
	failing(false)
	l.write("a.yaml", doc("a", "10.0.0.3"))
	l.ip("a", "10.0.0.3")
	said := l.said()
	if len(said) != 2 || !strings.HasPrefix(said[0], "error manifests: ") || !strings.HasSuffix(said[0], "the objects stay as they were") ||
		said[1] != "info manifests: DIR is readable again" {
		t.Errorf("said %q", said)
	}
}

// TestTheFolderMayBeALink, as git-sync swaps it.
func TestTheFolderMayBeALink(t *testing.T) {
	l := newLab(t)
	parent := l.dir
	l.dir = filepath.Join(parent, "current")
	for _, v := range []string{"1", "2"} {
		l.do(os.MkdirAll(filepath.Join(parent, v), 0o755))
		l.do(os.WriteFile(filepath.Join(parent, v, "a.yaml"), []byte(doc("a", "10.0.0."+v)), 0o644))
	}
	l.do(os.Symlink("1", l.dir))
	l.open()
	l.ip("a", "10.0.0.1")
	l.do(os.Symlink("2", filepath.Join(parent, "new")))
	l.do(os.Rename(filepath.Join(parent, "new"), l.dir))
	_, err := l.feed.scan()
	l.do(err)
	l.ip("a", "10.0.0.2")
}

// TestUnreadable: files and subfolders without permission count as they last were.
func TestUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read everything; an ordinary user runs this test")
	}
	l := newLab(t)
	l.write("a.yaml", doc("a", "10.0.0.1"))
	l.write("sub/b.yaml", doc("b", "10.0.0.2"))
	l.open()
	l.do(os.Chmod(filepath.Join(l.dir, "a.yaml"), 0))
	l.do(os.Chmod(filepath.Join(l.dir, "sub"), 0))
	t.Cleanup(func() { os.Chmod(filepath.Join(l.dir, "sub"), 0o755) })
	l.do(l.feed.reload([]string{filepath.Join(l.dir, "a.yaml")}))
	_, err := l.feed.scan()
	l.do(err)
	l.ip("a", "10.0.0.1")
	l.ip("b", "10.0.0.2")
	if said := l.said(); len(said) != 2 {
		t.Errorf("said %q", said)
	}
	l.do(os.Chmod(filepath.Join(l.dir, "a.yaml"), 0o644))
	l.do(os.Chmod(filepath.Join(l.dir, "sub"), 0o755))
	_, err = l.feed.scan()
	l.do(err)
	if f := l.feed.Files(); f.Broken != 0 || l.feed.Status()[0].Failing {
		t.Errorf("%+v %+v", f, l.feed.Status()[0])
	}
}
