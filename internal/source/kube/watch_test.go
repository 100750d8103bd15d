package kube

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
	"github.com/signpost-dns/signpost/test/api"
)

// TestStuckWatch: what a watch may keep silent about depends on what the server does
// otherwise.
func TestStuckWatch(t *testing.T) {
	mark := func(annotations map[string]string) watch.Event {
		return watch.Event{Type: watch.Bookmark, Object: &corev1.Service{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7", Annotations: annotations}}}
	}
	added := watch.Event{Type: watch.Added, Object: service("web", "10.0.0.1")}
	const quiet, end = time.Minute, time.Hour
	for _, c := range []struct {
		name   string
		events []watch.Event
		pause  time.Duration // before each event
		lasts  time.Duration
		why    string
	}{
		{"nothing at all", nil, 0, end, "still open 30s after its requested end"},
		{"a server without bookmarks", []watch.Event{added, added}, 50 * time.Second, end, "still open 30s after its requested end"},
		{"the bookmark that ends a list", []watch.Event{added, mark(map[string]string{metav1.InitialEventsAnnotationKey: "true"})}, time.Second, end, "open 30s"},
		{"bookmarks, then nothing", []watch.Event{mark(nil), mark(nil)}, 50 * time.Second, 100*time.Second + quiet, "no event and no bookmark for 1m0s"},
		{"events show that it lives", []watch.Event{mark(nil), added, added}, 50 * time.Second, 150*time.Second + quiet, "no event and no bookmark for 1m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &health{kind: cluster.KindService, logf: func(string, string, ...any) {}}
				l := &link{
					resource: &resources[cluster.KindService], calls: &sync.RWMutex{}, timeouts: timeouts{quiet: quiet, over: 30 * time.Second},
					sink: newSink(cluster.KindService, cluster.NewStore(), source.Options{}, newReports(func(source.Problem) {}), h, newRestores(nil, h.logf), func() {}),
				}
				upstream, begin, closed := watch.NewFake(), time.Now(), false
				w := l.observe(t.Context(), upstream, end, func() {}, func() { closed = true })
				go func() {
					for _, ev := range c.events {
						time.Sleep(c.pause)
						upstream.Action(ev.Type, ev.Object)
					}
				}()
				n := 0
				for range w.ResultChan() {
					n++
				}
				if took := time.Since(begin); took != c.lasts || n != len(c.events) {
					t.Errorf("%d events in %v, want %d in %v", n, took, len(c.events), c.lasts)
				}
				if st := h.get(); !st.Failing || !strings.Contains(st.LastError, c.why) {
					t.Errorf("status %+v, want %q", st, c.why)
				}
				synctest.Wait()
				if !upstream.IsStopped() || !closed {
					t.Error("the connection is still held")
				}
			})
		})
	}
}

// blackHole stands before a server, and swallows on demand what goes either way, with
// connections open, as a firewall does that forgot them.
type blackHole struct {
	url string

	mu   sync.Mutex
	thaw chan struct{} // closed: all passes
}

func newBlackHole(t *testing.T, server *api.Server) *blackHole {
	to, err := url.Parse(server.URL)
	must(t, err)
	b := &blackHole{thaw: make(chan struct{})}
	close(b.thaw)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	proxy.ErrorLog = nil
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Body = &slowBody{hole: b, ReadCloser: r.Body, gone: r.Request.Context().Done()}
		return nil
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b.wait(r.Context().Done()) {
			proxy.ServeHTTP(w, r)
		}
	})}
	var all sync.WaitGroup
	all.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { b.open(); _ = s.Close(); all.Wait() })
	b.url = "http://" + l.Addr().String()
	return b
}

// slowBody is an answer that does not come while the hole swallows.
type slowBody struct {
	hole *blackHole
	io.ReadCloser
	gone <-chan struct{}
}

func (s *slowBody) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.hole.wait(s.gone)
	return n, err
}

// wait waits until all passes; false: the other end is gone before.
func (b *blackHole) wait(gone <-chan struct{}) bool {
	b.mu.Lock()
	thaw := b.thaw
	b.mu.Unlock()
	select {
	case <-thaw:
		return true
	case <-gone:
		return false
	}
}

func (b *blackHole) swallow() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.thaw = make(chan struct{})
}

func (b *blackHole) open() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.thaw:
	default:
		close(b.thaw)
	}
}

// TestHang: watches over connections that nothing comes through any more are given up,
// and people are told; when the server answers again, all that happened is seen.
func TestHang(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(oneOfEach()...)
	hole := newBlackHole(t, server)
	l := prepareLab(t, server, nil)
	rc, err := Config{Endpoint: hole.url, UserAgent: "lab"}.REST()
	must(t, err)
	l.feed, err = New(rc, l.store, Options{Kinds: allKinds, Logf: l.logf})
	must(t, err)
	for _, w := range l.feed.wide {
		w.timeouts = timeouts{begin: 300 * time.Millisecond, quiet: 300 * time.Millisecond, over: time.Minute}
	}
	l.run()
	l.synced()
	l.until("all watches", func() bool { return server.Watches() == len(allKinds) })
	before := l.feed.Status()
	server.Bookmark()
	l.until("bookmarks", func() bool {
		return !slices.ContainsFunc(l.feed.Status(), func(st source.Status) bool { return !st.LastEvent.After(before[st.Kind].LastEvent) })
	})
	hole.swallow()
	said := func(what string) func() bool {
		return func() bool { return strings.Contains(strings.Join(l.said(), "\n"), what) }
	}
	server.Put(service("new", "10.0.0.9"))
	l.until("it is noticed", said("the watch hangs: no event and no bookmark for 300ms; keeping known objects"))
	l.until("the next request is given up as well", said("the server does not answer within 300ms"))
	l.equal(oneOfEach()...)
	hole.open()
	l.equal(append(oneOfEach(), service("new", "10.0.0.9"))...)
	l.until("all well", func() bool {
		for _, st := range l.feed.Status() {
			if st.Failing {
				return false
			}
		}
		return true
	})
}

// TestReminders: who does not look at metrics is told how old the data gets.
func TestReminders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		h := &health{kind: cluster.KindService, logf: func(_, format string, args ...any) {
			lines = append(lines, strings.TrimSpace(strings.SplitAfterN(fmt.Sprintf(format, args...), "; ", 2)[1]))
		}}
		h.listed()
		for range 20 * 60 { // a failure a second
			time.Sleep(time.Second)
			h.failed(errShort)
		}
		want := []string{"1s", "1m2s", "2m5s", "4m11s", "8m23s", "16m47s"}
		if len(lines) != len(want) {
			t.Fatalf("lines %q, want %d", lines, len(want))
		}
		for i, age := range want {
			if lines[i] != "keeping known objects, last contact with the server "+age+" ago, retrying" {
				t.Errorf("line %q, want %s", lines[i], age)
			}
		}
	})
}
