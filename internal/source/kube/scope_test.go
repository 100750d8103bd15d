package kube

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/test/api"
)

func in(namespace string, s *corev1.Service) *corev1.Service {
	s.Namespace = namespace
	return s
}

func team(name, team string) *corev1.Namespace {
	n := namespace(name)
	n.Labels = map[string]string{"team": team}
	return n
}

// collections are the paths that were asked for, once each.
func collections(server *api.Server) []string {
	var paths []string
	for _, r := range server.Requests() {
		paths = append(paths, r.Path)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

var threeKinds = []cluster.Kind{cluster.KindService, cluster.KindSlice, cluster.KindNamespace}

// With named namespaces nothing is asked of others, and nothing of the cluster.
func TestNamespaces(t *testing.T) {
	for _, streams := range []bool{true, false} {
		t.Run(fmt.Sprintf("streams=%v", streams), func(t *testing.T) {
			t.Parallel()
			server := api.New(t)
			if !streams {
				server.NoWatchList()
			}
			server.Put(namespace("default"), namespace("b"), service("web", "10.0.0.1"), apiSlice("web-1", "", "10.1.0.1"),
				in("b", service("web", "10.0.0.2")), in("c", service("web", "10.0.0.3")))
			l := newLab(t, server, func(o *Options) { o.Kinds, o.Namespaces = threeKinds, []string{"default", "b", "gone"} })
			l.synced()
			named := []runtime.Object{namespace("default"), namespace("b"), namespace("gone")}
			l.equal(append(named, service("web", "10.0.0.1"), apiSlice("web-1", "", "10.1.0.1"), in("b", service("web", "10.0.0.2")))...)
			want := []string{
				"/api/v1/namespaces/b/services", "/api/v1/namespaces/default/services", "/api/v1/namespaces/gone/services",
				"/apis/discovery.k8s.io/v1/namespaces/b/endpointslices", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
				"/apis/discovery.k8s.io/v1/namespaces/gone/endpointslices",
			}
			if got := collections(server); !slices.Equal(got, want) {
				t.Errorf("asked for %q", got)
			}
			server.Delete(in("b", service("web", "")))
			server.Put(in("gone", service("new", "10.0.0.4")), in("c", service("new", "10.0.0.5")))
			l.equal(append(named, service("web", "10.0.0.1"), apiSlice("web-1", "", "10.1.0.1"), in("gone", service("new", "10.0.0.4")))...)

			server.Stop() // what happens meanwhile comes by a fresh list of one namespace
			server.Put(in("b", service("late", "10.0.0.6")))
			server.Delete(service("web", ""))
			server.Expire()
			server.Start()
			l.equal(append(named, apiSlice("web-1", "", "10.1.0.1"), in("gone", service("new", "10.0.0.4")), in("b", service("late", "10.0.0.6")))...)
			l.wantStatus("services true", "endpointslices true")
		})
	}
}

// wantStatus waits for a status by kind and sync, in which every kind was heard of.
func (l *lab) wantStatus(want ...string) {
	l.Helper()
	l.until(fmt.Sprintf("status %q", want), func() bool {
		var got []string
		for _, st := range l.feed.Status() {
			if !st.LastEvent.IsZero() {
				got = append(got, fmt.Sprintf("%v %v", st.Kind, st.Synced))
			}
		}
		return slices.Equal(got, want)
	})
}

// With a selector of namespaces the watches follow them.
func TestNamespaceSelector(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(team("a", "x"), team("b", "y"), in("a", service("web", "10.0.0.1")), in("b", service("web", "10.0.0.2")))
	l := newLab(t, server, func(o *Options) { o.Kinds, o.NamespaceSelector = threeKinds, "team=x" })
	l.synced()
	l.equal(team("a", "x"), in("a", service("web", "10.0.0.1")))
	l.until("3 watches", func() bool { return server.Watches() == 3 })

	server.Put(team("b", "x"))
	l.equal(team("a", "x"), team("b", "x"), in("a", service("web", "10.0.0.1")), in("b", service("web", "10.0.0.2")))
	l.until("5 watches", func() bool { return server.Watches() == 5 })
	l.wantStatus("namespaces true", "services true", "endpointslices true")

	server.Put(team("a", "y"))
	l.equal(team("b", "x"), in("b", service("web", "10.0.0.2")))
	l.until("3 watches again", func() bool { return server.Watches() == 3 })
	server.Put(in("a", service("late", "10.0.0.3")), team("a", "x"))
	l.equal(team("a", "x"), team("b", "x"), in("a", service("web", "10.0.0.1")), in("a", service("late", "10.0.0.3")), in("b", service("web", "10.0.0.2")))

	server.Stop()
	server.Delete(in("b", service("web", "")), namespace("b"))
	server.Expire()
	server.Start()
	l.equal(team("a", "x"), in("a", service("web", "10.0.0.1")), in("a", service("late", "10.0.0.3")))
	l.stop()
	l.until("no watch", func() bool { return server.Watches() == 0 })
	for _, path := range collections(server) {
		if strings.HasSuffix(path, "/services") && path == "/api/v1/services" {
			t.Error("it watched the Services of the whole cluster")
		}
	}
}

func TestNoNamespaceMatches(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(team("a", "y"), in("a", service("web", "10.0.0.1")))
	l := newLab(t, server, func(o *Options) { o.NamespaceSelector = "team=x" })
	l.synced()
	l.equal()
	server.Put(team("a", "x"))
	l.equal(team("a", "x"), in("a", service("web", "10.0.0.1")))
}

// What a snapshot left of namespaces that are not selected any more goes.
func TestStaleNamespacesGo(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(team("a", "x"), in("a", service("web", "10.0.0.1")))
	for name, change := range map[string]func(*Options){
		"selector": func(o *Options) { o.Kinds, o.NamespaceSelector = threeKinds, "team=x" },
		"names":    func(o *Options) { o.Kinds, o.Namespaces = threeKinds, []string{"a"} },
	} {
		t.Run(name, func(t *testing.T) {
			l := prepareLab(t, server, change)
			stale := cluster.Key{Namespace: "old", Name: "web"}
			l.store.Put(1, &cluster.Namespace{Name: "old"}, &cluster.Service{Key: stale}, cluster.NewSlice(stale, stale, 1, nil, nil))
			l.run()
			l.synced()
			l.equal(team("a", "x"), in("a", service("web", "10.0.0.1")))
		})
	}
}

// Nothing is synced before the last namespace was listed; a namespace that goes
// meanwhile is not waited for.
func TestSyncWaitsForEachNamespace(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*api.Server, *atomic.Bool)
	}{
		{"it is listed", func(_ *api.Server, closed *atomic.Bool) { closed.Store(false) }},
		{"it goes", func(server *api.Server, _ *atomic.Bool) { server.Put(team("b", "y")) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			server := api.New(t)
			server.Put(team("a", "x"), team("b", "x"), in("a", service("web", "10.0.0.1")), in("b", service("web", "10.0.0.2")))
			var closed atomic.Bool
			closed.Store(true)
			server.Guard(func(r api.Request) int {
				if closed.Load() && strings.Contains(r.Path, "/namespaces/b/services") {
					return http.StatusForbidden
				}
				return 0
			})
			l := newLab(t, server, func(o *Options) { o.Kinds, o.NamespaceSelector = threeKinds, "team=x" })
			l.until("the log tells", func() bool { return len(l.loud()) > 0 })
			l.until("the others", func() bool { return l.store.Count(cluster.KindService) == 1 })
			time.Sleep(20 * time.Millisecond)
			if l.store.Synced() {
				t.Error("synced without the Services of b")
			}
			if st := l.feed.Status(); !st[1].Failing || st[1].Synced || st[1].Failures == 0 || st[2].Failing {
				t.Errorf("status %+v", st)
			}
			line := l.loud()[0]
			for _, part := range []string{"error watching services in the namespace b: ", "want a Role there (or a ClusterRole) with the verbs list and watch on services", "nothing is known yet"} {
				if !strings.Contains(line, part) {
					t.Errorf("log %q without %q", line, part)
				}
			}
			before := l.feed.Status()[1].Failures
			tt.end(server, &closed)
			l.synced()
			if st := l.feed.Status()[1]; st.Failures < before || !st.Synced {
				t.Errorf("status %+v after %d failures", st, before)
			}
		})
	}
}

// Any sequence of changes leads to what the server holds in the namespaces that match.
func TestScopeFollowsAnySequence(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c"}
	server := api.New(t)
	if rng.IntN(2) == 0 {
		server.NoWatchList()
	}
	l := newLab(t, server, func(o *Options) { o.Kinds, o.NamespaceSelector = threeKinds, "team=x" })
	teams, services := map[string]string{}, map[string]string{}
	for round := range 15 {
		for range rng.IntN(12) {
			ns := names[rng.IntN(len(names))]
			switch rng.IntN(10) {
			case 0, 1:
				teams[ns] = []string{"x", "y"}[rng.IntN(2)]
				server.Put(team(ns, teams[ns]))
			case 2:
				delete(teams, ns)
				server.Delete(namespace(ns))
			case 3:
				delete(services, ns)
				server.Delete(in(ns, service("web", "")))
			case 4:
				server.DropConnections()
			default:
				services[ns] = fmt.Sprintf("10.0.%d.%d", round, rng.IntN(200)+1)
				server.Put(in(ns, service("web", services[ns])))
			}
		}
		var want []runtime.Object
		for ns, t := range teams {
			if t != "x" {
				continue
			}
			want = append(want, team(ns, t))
			if ip := services[ns]; ip != "" {
				want = append(want, in(ns, service("web", ip)))
			}
		}
		l.equal(want...)
	}
}
