package kube

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	"github.com/signpost-dns/signpost/test/api"
)

// guard measures requests where they arrive: their times, and how many there are
// at once.
type guard struct {
	hold time.Duration // how long each takes

	mu        sync.Mutex
	times     []time.Time
	now, most int
}

func (g *guard) request(api.Request) int {
	g.mu.Lock()
	g.times = append(g.times, time.Now())
	g.now++
	g.most = max(g.most, g.now)
	g.mu.Unlock()
	time.Sleep(g.hold)
	g.mu.Lock()
	g.now--
	g.mu.Unlock()
	return 0
}

// TestRateIsLimited counts at the server: lists and watches, of all API groups together.
func TestRateIsLimited(t *testing.T) {
	for _, streams := range []bool{true, false} {
		server := api.New(t)
		if !streams {
			server.NoWatchList()
		}
		g := &guard{}
		server.Guard(g.request)
		l := prepareLab(t, server, func(o *Options) { o.Kinds, o.Namespaces = threeKinds, []string{"a", "b", "c", "d", "e"} })
		rc := &rest.Config{Host: server.URL, QPS: 25, Burst: 3}
		var err error
		l.feed, err = New(rc, l.store, l.feed.options)
		must(t, err)
		begin := time.Now()
		l.run()
		l.synced()
		l.until("all watches", func() bool { return server.Watches() == 10 })
		g.mu.Lock()
		if len(g.times) < 10 {
			t.Errorf("streams %v: %d requests, want 10 or more", streams, len(g.times))
		}
		// Requests may be late on their way, so only the beginning is a fixed point: by any
		// time no more have come than the burst and what was due since.
		for i, at := range g.times {
			if least := time.Duration(i+1-3) * time.Second / 25; at.Sub(begin) < least {
				t.Errorf("streams %v: request %d after %v, want at least %v", streams, i+1, at.Sub(begin), least)
			}
		}
		g.mu.Unlock()
		if rc.QPS != 25 {
			t.Error("New changed the caller's configuration")
		}
		l.stop()
	}
}

// TestTokensTakeTheirTime: who waits for a token does not wait for the server.
func TestTokensTakeTheirTime(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	l := prepareLab(t, server, func(o *Options) { o.Kinds = threeKinds })
	var err error
	l.feed, err = New(&rest.Config{Host: server.URL, QPS: 2}, l.store, l.feed.options)
	must(t, err)
	for _, w := range l.feed.wide {
		w.timeouts.begin = 300 * time.Millisecond
	}
	l.run()
	l.until("all watches", func() bool { return server.Watches() == len(threeKinds) })
	for _, line := range l.said() {
		if strings.Contains(line, errNoAnswer.Error()) {
			t.Error(line)
		}
	}
}

func TestDefaultRates(t *testing.T) {
	for _, tt := range []struct {
		name     string
		rc       rest.Config
		requests int // that go at once
		limited  bool
	}{
		{"default", rest.Config{}, 100, true},
		{"burst", rest.Config{Burst: 7}, 7, true},
		{"rate", rest.Config{QPS: 1}, 1, true},
		{"slow rate", rest.Config{QPS: 0.5}, 1, true},
		{"odd rate", rest.Config{QPS: 2.5}, 3, true},
		{"none", rest.Config{QPS: -1}, 300, false},
	} {
		rc := tt.rc
		limitRate(&rc)
		sent := 0
		transport := http.RoundTripper(trip(func(*http.Request) (*http.Response, error) { sent++; return &http.Response{}, nil }))
		if rc.WrapTransport != nil {
			transport = rc.WrapTransport(transport)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		for range tt.requests {
			// A token that is there is taken without a look at the time; one to wait for
			// would come too late.
			if _, err := transport.RoundTrip((&http.Request{URL: &url.URL{}}).WithContext(context.Background())); err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		_, err := transport.RoundTrip((&http.Request{URL: &url.URL{}, Body: http.NoBody}).WithContext(ctx))
		cancel()
		if (err != nil) != tt.limited || sent < tt.requests {
			t.Errorf("%s: %d sent, then %v", tt.name, sent, err)
		}
	}
}

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestInFlightIsLimited: never more at once than allowed, and all watches run in
// the end although they are more.
func TestInFlightIsLimited(t *testing.T) {
	for _, streams := range []bool{true, false} {
		for most, want := range map[int]int{0: 3, 1: 1, 2: 2} {
			server := api.New(t)
			if !streams {
				server.NoWatchList()
			}
			g := &guard{hold: 30 * time.Millisecond}
			server.Guard(g.request)
			server.Put(service("web", "10.0.0.1"))
			l := newLab(t, server, func(o *Options) { o.Kinds, o.MaxInFlight = threeKinds, most })
			l.synced()
			l.until("3 watches", func() bool { return server.Watches() == 3 })
			g.mu.Lock()
			if g.most > want || most == 0 && g.most < 2 {
				t.Errorf("streams %v, limit %d: %d at once", streams, most, g.most)
			}
			g.mu.Unlock()
			server.Put(service("late", "10.0.0.2"))
			l.equal(service("web", "10.0.0.1"), service("late", "10.0.0.2"))
			l.stop()
		}
	}
}

// TestStreamedListIsInFlight: it leaves with the bookmark at its end, or when it breaks off.
func TestStreamedListIsInFlight(t *testing.T) {
	l := newLab(t, api.New(t), func(o *Options) { o.MaxInFlight = 1 }).feed.wide[0]
	end := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
	for _, how := range []string{"bookmark", "stop", "close"} {
		g := newGate(1)
		leave, err := g.enter(t.Context())
		must(t, err)
		upstream := watch.NewFake()
		w := l.observe(t.Context(), upstream, 0, leave, leave)
		upstream.Action(watch.Bookmark, &corev1.Service{})
		<-w.ResultChan()
		upstream.Add(&corev1.Service{})
		<-w.ResultChan()
		if len(g) != 1 {
			t.Errorf("%s: left before the end of the list", how)
		}
		switch how {
		case "bookmark":
			upstream.Action(watch.Bookmark, end)
			<-w.ResultChan()
		case "stop":
			w.Stop()
		case "close":
			upstream.Stop()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		again, err := g.enter(ctx)
		must(t, err)
		again()
		again()
		cancel()
		w.Stop()
		if len(g) != 0 {
			t.Errorf("%s: %d still in flight", how, len(g))
		}
	}
}

func TestGateEndsWithItsCaller(t *testing.T) {
	g := newGate(1)
	leave, err := g.enter(t.Context())
	must(t, err)
	defer leave()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.enter(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
