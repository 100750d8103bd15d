package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// stage is one Keeper with a clock and a source of its own.
type stage struct {
	*Keeper
	store *cluster.Store
	clock time.Time
	heard time.Time
	lines []string
}

func newStage(dir string, store *cluster.Store, change func(*Options)) *stage {
	s := &stage{store: store, clock: noon, heard: noon}
	o := Options{
		Dir: dir, Identity: "here", Heard: func() time.Time { return s.heard },
		Logf: func(level, format string, args ...any) {
			s.lines = append(s.lines, level+" "+fmt.Sprintf(format, args...))
		},
	}
	if change != nil {
		change(&o)
	}
	s.Keeper = New(store, o)
	s.now = func() time.Time { return s.clock }
	return s
}

// after lets time pass and looks whether something is to do.
func (s *stage) after(d time.Duration) {
	s.clock = s.clock.Add(d)
	s.tick()
}

func (s *stage) says(t *testing.T, want string) {
	t.Helper()
	if !strings.Contains(strings.Join(s.lines, "\n"), want) {
		t.Errorf("the log says %q, want %q", s.lines, want)
	}
}

// contents of a Store as a set, to compare.
func contents(s *cluster.Store) map[cluster.Ref]cluster.Object {
	_, objects := s.Contents()
	set := map[cluster.Ref]cluster.Object{}
	for _, o := range objects {
		set[o.Ref()] = o
	}
	return set
}

func TestRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by us")
	first := newStage(dir, filled(7, town()...), nil)
	if first.Restore() {
		t.Error("took something from a folder that is not there")
	}
	first.says(t, "info snapshot "+FileName(dir, "here")+": there is none yet")
	first.after(time.Second)
	if st := first.Status(); st.Writes != 1 || st.Err != nil || st.Size == 0 || st.Load != None {
		t.Fatalf("status %+v", st)
	}

	second := newStage(dir, cluster.NewStore(), nil)
	second.clock = noon.Add(time.Hour)
	if !second.Restore() {
		t.Fatal(second.lines)
	}
	second.says(t, "took 5 objects of resourceVersion 7")
	second.says(t, "as they were 1h0m0s ago")
	if !second.store.Restored() || second.store.Synced() || second.store.Version() != 7 {
		t.Error("the Store does not know what it has")
	}
	if st := second.Status(); st.Load != Taken || !st.Heard.Equal(noon) {
		t.Errorf("status %+v", st)
	}
	if diff := cmp.Diff(contents(first.store), contents(second.store), equal); diff != "" {
		t.Errorf("(-written +taken):\n%s", diff)
	}
	// Until the first sync the file stays: a new date on old data would be a lie.
	second.store.Delete(8, cluster.Ref{Kind: cluster.KindNode, Key: cluster.Key{Name: "n1"}})
	second.after(time.Hour)
	second.finish()
	if st := second.Status(); st.Writes+st.Failures != 0 {
		t.Errorf("status %+v before the sync", st)
	}
	second.store.MarkSynced()
	second.heard = second.clock
	second.after(time.Second)
	second.says(t, "replaced by the first sync, 1h0m1s after it was taken")
	third := newStage(dir, cluster.NewStore(), nil)
	if third.clock = second.clock; !third.Restore() || third.store.Count(cluster.KindNode) != 0 {
		t.Error("what was deleted after the restart is there again", third.lines)
	}
}

func TestWhatIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	newStage(dir, filled(7, town()...), nil).after(0)
	own := FileName(dir, "here")
	content, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		prepare func(*stage)
		reason  Reason
	}{
		"another identity":          {func(s *stage) { s.options.Identity = "there" }, Foreign},
		"older than wanted":         {func(s *stage) { s.clock = noon.Add(time.Hour + time.Second); s.options.MaxAge = time.Hour }, Old},
		"as old as wanted":          {func(s *stage) { s.clock = noon.Add(time.Hour); s.options.MaxAge = time.Hour }, Taken},
		"of any age":                {func(s *stage) { s.clock = noon.Add(10000 * time.Hour) }, Taken},
		"a clock that was set back": {func(s *stage) { s.clock = time.Unix(0, 0); s.options.MaxAge = time.Hour }, Taken},
		"a link to another's file":  {func(s *stage) { replace(t, own, func() error { return os.Symlink("/etc/passwd", own) }) }, Unreadable},
		"a folder in its place":     {func(s *stage) { replace(t, own, func() error { return os.Mkdir(own, 0o700) }) }, Unreadable},
		"a file in the folder's":    {func(s *stage) { s.path = filepath.Join(own, "x") }, Unreadable},
		"half of it": {func(s *stage) {
			replace(t, own, func() error { return os.WriteFile(own, content[:len(content)/2], 0o600) })
		}, Damaged},
	} {
		t.Run(name, func(t *testing.T) {
			replace(t, own, func() error { return os.WriteFile(own, content, 0o600) })
			s := newStage(dir, cluster.NewStore(), nil)
			tt.prepare(s)
			if took := s.Restore(); took != (tt.reason == Taken) || s.Status().Load != tt.reason {
				t.Errorf("taken %v, reason %q, want %q: %s", took, s.Status().Load, tt.reason, s.lines)
			}
			if s.store.Restored() != (tt.reason == Taken) || (s.store.Changes() > 0) != (tt.reason == Taken) {
				t.Error("the Store was touched, or was not")
			}
			if tt.reason != Taken {
				s.says(t, "warning snapshot "+s.path+": not taken: ")
			}
		})
	}
}

func replace(t *testing.T, path string, make func() error) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := make(); err != nil {
		t.Fatal(err)
	}
}

// TestRate: how often is written, by a clock that the test moves.
func TestRate(t *testing.T) {
	s := newStage(t.TempDir(), cluster.NewStore(), nil)
	change := func() { s.store.Put(s.store.Version()+1, &cluster.Namespace{Name: fmt.Sprint("n", s.store.Version())}) }
	writes := func(want uint64, when string) {
		t.Helper()
		if got := s.Status().Writes; got != want {
			t.Fatalf("%s: %d writes, want %d", when, got, want)
		}
	}
	s.after(time.Hour)
	writes(0, "not synced")
	s.store.MarkSynced()
	s.after(look)
	writes(1, "synced")
	change()
	s.after(look)
	writes(1, "changed, but too soon")
	s.after(pause)
	writes(2, "changed, and the time has come")
	s.after(refresh + time.Second)
	writes(2, "nothing changed, nothing heard")
	s.heard = s.clock
	s.after(look)
	writes(3, "heard after a long time")
	s.heard = s.clock
	s.after(pause)
	writes(3, "heard again soon")
	for range 120 { // a change a second
		change()
		s.after(time.Second)
	}
	if got := s.Status().Writes; got < 13 || got > 15 {
		t.Errorf("%d writes of 120 changes in two minutes, want one in 10 s", got-3)
	}
	change()
	s.finish()
	before := s.Status().Writes
	s.finish()
	writes(before, "nothing changed since the last")
}

// Writing that takes long is done less often: no more than a twentieth of the time.
func TestSlowDisk(t *testing.T) {
	s := newStage(t.TempDir(), filled(1, town()...), nil)
	inner := s.now
	s.now = func() time.Time { s.clock = s.clock.Add(3 * time.Second); return inner() } // each look at the clock
	s.write(noon)
	if wait := s.next.Sub(s.saved); wait < 60*time.Second {
		t.Errorf("the next one may be %v after one that took 3 s", wait)
	}
}

// Of two processes in one folder the one that heard the source last decides.
func TestNewerOfAnotherProcessStays(t *testing.T) {
	dir := t.TempDir()
	away, here := newStage(dir, filled(7, town()...), nil), newStage(dir, filled(9), nil)
	here.heard = noon.Add(time.Minute)
	here.clock = noon.Add(time.Minute)
	here.after(0)
	away.after(2 * time.Minute)
	reader := newStage(dir, cluster.NewStore(), nil)
	if reader.Restore(); reader.store.Version() != 9 {
		t.Errorf("version %d, want 9 of the process that heard more", reader.store.Version())
	}
	// But a date in the future is a clock that was wrong.
	here.heard, here.clock = noon.Add(24*time.Hour), noon.Add(24*time.Hour)
	here.store.Put(10)
	here.tick()
	away.store.Put(11)
	away.after(pause)
	if reader = newStage(dir, cluster.NewStore(), nil); !reader.Restore() || reader.store.Version() != 11 {
		t.Errorf("version %d, want 11: %s", reader.store.Version(), reader.lines)
	}
}

// Processes that share a folder and one that reads meanwhile: each file is whole.
func TestManyProcesses(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		all.Go(func() {
			s := newStage(dir, filled(7, town()...), nil)
			for ctx.Err() == nil {
				if s.write(noon); s.Status().Err != nil {
					t.Error(s.Status().Err)
					return
				}
			}
		})
	}
	for reads := 0; reads < 50 && !t.Failed(); {
		_, objects, _, err := load(FileName(dir, "here"), anyone)
		var r *Refusal
		if errors.As(err, &r) && r.Reason == None {
			continue
		}
		if reads++; err != nil || len(objects) != len(town()) {
			t.Errorf("%d objects: %v", len(objects), err)
		}
	}
	cancel()
	all.Wait()
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("%v left, want one file", files)
	}
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	newStage(dir, filled(7, town()...), nil).after(0)
	for path, want := range map[string]os.FileMode{dir: 0o700, FileName(dir, "here"): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

// Nothing that goes wrong is told more than once, or tried too often.
func TestTrouble(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	s := newStage(dir, filled(7, town()...), nil)
	for range 3600 {
		s.after(time.Second)
	}
	st := s.Status()
	if st.Err == nil || st.Writes != 0 || st.Failures < 10 || st.Failures > 20 {
		t.Errorf("after an hour: %+v, want about 16 attempts", st)
	}
	if len(s.lines) != 1 || !strings.HasPrefix(s.lines[0], "error snapshot ") {
		t.Errorf("lines %q, want one error", s.lines)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	s.after(maxDelay)
	if st := s.Status(); st.Err != nil || st.Writes != 1 {
		t.Errorf("after the repair: %+v", st)
	}
	s.says(t, "info snapshot "+s.path+": written again")
}

// Leftovers go, and what somebody may need stays.
func TestTidy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "odd[name]*")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, age := range map[string]time.Duration{
		".signpost-1.tmp": 2 * time.Hour, ".signpost-2.tmp": time.Minute, "signpost-a.snapshot": 31 * 24 * time.Hour,
		"signpost-b.snapshot": 24 * time.Hour, "notes.txt": 1000 * time.Hour, filepath.Base(FileName(dir, "here")): 1000 * time.Hour,
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	tidy(dir, FileName(dir, "here"), now)
	var left []string
	files, err := os.ReadDir(dir)
	for _, f := range files {
		left = append(left, f.Name())
	}
	want := []string{".signpost-2.tmp", "notes.txt", "signpost-b.snapshot", filepath.Base(FileName(dir, "here"))}
	if diff := cmp.Diff(want, left); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// Run writes by the real clock, and once more at its end.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	store := filled(7, town()...)
	k := New(store, Options{Dir: dir, Identity: "here", Heard: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	for k.Status().Writes == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	store.Put(8)
	cancel()
	<-done
	reader := New(cluster.NewStore(), Options{Dir: dir, Identity: "here"})
	if !reader.Restore() || reader.store.Version() != 8 {
		t.Errorf("version %d, want 8", reader.store.Version())
	}
}
