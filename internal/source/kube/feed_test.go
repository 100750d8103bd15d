package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
	"github.com/signpost-dns/signpost/test/api"
)

func TestFeed(t *testing.T) {
	t.Parallel()
	for _, streams := range []bool{true, false} {
		t.Run(fmt.Sprintf("streamed lists %v", streams), func(t *testing.T) {
			server := api.New(t)
			if !streams {
				server.NoWatchList()
			}
			server.Put(oneOfEach()...)
			server.Put(pod("done", "10.1.0.9", corev1.PodSucceeded))
			l := newLab(t, server, nil)
			l.synced()
			l.equal(oneOfEach()...)
			if got, want := l.store.Version(), server.Version(); got != want {
				t.Errorf("version %d, want %d", got, want)
			}
			// Changes, additions, deletions; a pod that ends leaves the watch's view.
			server.Put(namespace("x"), service("web", "10.0.0.2"), service("db", "10.0.0.3"), pod("web-a", "10.1.0.1", corev1.PodFailed))
			server.Delete(node("n1"), apiSlice("web-1", ""))
			l.equal(namespace("default"), namespace("x"), service("web", "10.0.0.2"), service("db", "10.0.0.3"))
			server.Delete(namespace("x"), service("db", ""))
			l.equal(namespace("default"), service("web", "10.0.0.2"))
			l.checkRequests(streams)
			l.stop()
			if lines := l.loud(); lines != nil {
				t.Errorf("logged %q", lines)
			}
			for _, st := range l.feed.Status() {
				if !st.Synced || st.LastEvent.IsZero() || st.Failing || st.Failures > 0 || st.LastError != "" {
					t.Errorf("%+v", st)
				}
			}
			l.until("no watches", func() bool { return server.Watches() == 0 })
		})
	}
}

// checkRequests: protobuf on every path, and as few objects as possible.
func (l *lab) checkRequests(streams bool) {
	l.Helper()
	lists := 0
	for _, r := range l.api.Requests() {
		if !strings.HasPrefix(r.Accept, "application/vnd.kubernetes.protobuf") || r.UserAgent != "lab" {
			l.Errorf("%v accepts %q, by %q", r, r.Accept, r.UserAgent)
		}
		if strings.HasSuffix(r.Path, "/pods") && r.Query.Get("fieldSelector") != "status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown" {
			l.Errorf("%v takes pods that have ended", r)
		}
		if !r.Query.Has("watch") {
			lists++
		} else if r.Query.Get("allowWatchBookmarks") != "true" {
			l.Errorf("%v has no bookmarks", r)
		}
	}
	if want := map[bool]int{true: 0, false: len(allKinds)}[streams]; lists != want {
		l.Errorf("%d lists, want %d", lists, want)
	}
}

func TestLabelSelector(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	slice := apiSlice("web-1", "", "10.1.0.1")
	slice.Labels["app"] = "web"
	server.Put(namespace("default"), service("web", "10.0.0.1"), service("db", "10.0.0.2"), slice, apiSlice("web-2", "", "10.1.0.2"))
	l := newLab(t, server, func(o *Options) { o.Kinds, o.LabelSelector = nil, "app=web" })
	l.synced()
	l.equal(namespace("default"), service("web", "10.0.0.1"), slice)
	if n := len(l.feed.Status()); n != 3 {
		t.Errorf("%d kinds by default", n)
	}
	changed := service("web", "10.0.0.1")
	changed.Labels = nil
	server.Put(changed)
	l.equal(namespace("default"), slice)
}

// Of all Nodes a forwarder watches its own.
func TestOneNode(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	mine := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mine"}}
	server.Put(mine, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "other"}})
	l := newLab(t, server, func(o *Options) { o.Kinds, o.Node = []cluster.Kind{cluster.KindNode}, "mine" })
	l.synced()
	l.equal(mine)
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		rc   rest.Config
		o    Options
		want string
	}{
		{"selector", rest.Config{}, Options{LabelSelector: "a=b=c"}, `label selector "a=b=c": `},
		{"namespace selector", rest.Config{}, Options{NamespaceSelector: "a in"}, `namespace selector "a in": `},
		{"namespaces and selector", rest.Config{}, Options{Namespaces: []string{"a", "b"}, NamespaceSelector: "a"}, `namespaces a b and the namespace selector "a": want one of them`},
		{"kind twice", rest.Config{}, Options{Kinds: []cluster.Kind{cluster.KindPod, cluster.KindPod}}, "watching pods: want each kind once"},
		{"unknown kind", rest.Config{}, Options{Kinds: []cluster.Kind{99}}, "watching unknown: want each kind once"},
		{"transport", rest.Config{Host: "https://a", TLSClientConfig: rest.TLSClientConfig{CAFile: "none"}}, Options{}, "prepare connections to https://a: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := New(&c.rc, cluster.NewStore(), c.o); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// TestBarrier: the Store is synced when the last kind was listed, not before, and
// a second list is no other kind.
func TestBarrier(t *testing.T) {
	store := cluster.NewStore()
	b := &barrier{store: store, missing: 2}
	quiet := func(string, string, ...any) {}
	sinks := []*sink{}
	for _, k := range allKinds[:2] {
		sinks = append(sinks, newSink(k, store, source.Options{}, newReports(nil), &health{kind: k, logf: quiet}, newRestores(store, quiet), b.listed))
	}
	must(t, sinks[0].Replace(nil, "1"))
	must(t, sinks[0].Replace(nil, "2"))
	must(t, sinks[0].Add(service("web", "10.0.0.1")))
	if store.Synced() {
		t.Fatal("synced without slices")
	}
	must(t, sinks[1].Replace(nil, "3"))
	if !store.Synced() {
		t.Error("not synced")
	}
	if err := sinks[0].Delete("x"); err == nil {
		t.Error("deleted a string")
	}
	if err := sinks[0].Add(1); err == nil {
		t.Error("added a number")
	}
}

// TestBookmarks keep the data young, and change nothing.
func TestBookmarks(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(oneOfEach()...)
	l := newLab(t, server, nil)
	l.synced()
	l.equal(oneOfEach()...)
	version, before := l.store.Version(), l.feed.Status()
	server.Bookmark()
	l.until("younger data", func() bool {
		return !slices.ContainsFunc(l.feed.Status(), func(st source.Status) bool { return !st.LastEvent.After(before[st.Kind].LastEvent) })
	})
	if got := l.store.Version(); got != version {
		t.Errorf("version %d after %d", got, version)
	}
}

// TestProblems are reported once per object, and again when they change.
func TestProblems(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	broken := service("web", "10.0.0.256")
	server.Put(broken)
	l := newLab(t, server, nil)
	l.synced()
	for range 3 {
		server.Put(broken)
	}
	server.Put(service("web", "10.0.0.1"), broken)
	other := service("web", "10.0.0.257")
	server.Put(other, service("last", "10.0.0.2"))
	l.equal(other, service("last", "10.0.0.2"))
	l.stop()
	var got []string
	for _, p := range l.problems {
		got = append(got, p.Field+" "+p.Value)
	}
	want := []string{"spec.clusterIP 10.0.0.256", "spec.clusterIP 10.0.0.256", "spec.clusterIP 10.0.0.257"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestReportsAreBounded: clusters full of broken objects cost a bounded memory.
func TestReportsAreBounded(t *testing.T) {
	count := 0
	r := newReports(func(source.Problem) { count++ })
	for i := range 3 * largestReports {
		r.note(cluster.Ref{Key: cluster.Key{Name: fmt.Sprint(i)}}, []source.Problem{{Field: "x"}})
	}
	if count != 3*largestReports || len(r.known) > largestReports {
		t.Errorf("%d reported, %d known", count, len(r.known))
	}
}
