package kube

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
	"github.com/signpost-dns/signpost/test/api"
)

// TestRestore: an API server that comes back from a backup takes watches from versions
// that it has not reached yet. Everything is listed anew all the same, people are told
// once, and serials go on.
func TestRestore(t *testing.T) {
	for name, c := range map[string]struct {
		version  uint64 // to which the API is restored
		noStream bool
		bookmark bool // every watch has one: without any event the Reflector itself lists anew
	}{
		"long before":                     {6, false, true},
		"without an event":                {6, false, false},
		"a server without streamed lists": {6, true, true},
		"later than most lists":           {210, false, true},
		"later than most watches":         {210, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := api.New(t)
			server.Restore(200, oneOfEach()...)
			if c.noStream {
				server.NoWatchList()
			}
			l := newLab(t, server, nil)
			l.synced()
			l.until("all watches", func() bool { return server.Watches() == len(allKinds) })
			if c.bookmark {
				server.Bookmark()
				l.until("bookmarks", func() bool { return l.passed(200) })
			}
			server.Put(service("web", "10.0.0.7"))
			for range 20 {
				server.Put(service("gone", "10.0.0.9"))
			}
			l.until("the last change", func() bool { return l.store.Version() == server.Version() })
			before := l.store.Serial(cluster.PartNames)

			server.Stop()
			backup := []*corev1.Service{service("web", "10.0.0.1"), service("back", "10.0.0.3")}
			server.Restore(c.version, namespace("default"), backup[0], backup[1], apiSlice("web-1", "", "10.1.0.3"))
			server.Start()
			l.equal(namespace("default"), backup[0], backup[1], apiSlice("web-1", "", "10.1.0.3"))
			server.Put(service("new", "10.0.0.4"))
			l.equal(namespace("default"), backup[0], backup[1], apiSlice("web-1", "", "10.1.0.3"), service("new", "10.0.0.4"))
			if after := l.store.Serial(cluster.PartNames); after <= before {
				t.Errorf("serial %d, and %d before the restore", after, before)
			}
			if v := l.store.Version(); v != server.Version() {
				t.Errorf("version %d, that of the API is %d", v, server.Version())
			}
			l.stop()
			told := slices.DeleteFunc(l.loud(), func(s string) bool { return !strings.Contains(s, "it was restored from a backup") })
			if len(told) != 1 {
				t.Errorf("logged %q, want it once", told)
			}
		})
	}
}

// passed reports whether every watch is past a version.
func (l *lab) passed(version uint64) bool {
	return !slices.ContainsFunc(l.feed.wide, func(w *link) bool { return source.Version(w.sink.from("1")) <= version })
}

// TestSnapshotOfBeforeARestore: what a process took from its snapshot is of a server that
// was restored since.
func TestSnapshotOfBeforeARestore(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Restore(6, namespace("default"), service("web", "10.0.0.1"))
	l := prepareLab(t, server, nil)
	l.store.Put(216, &cluster.Service{Key: cluster.Key{Namespace: "default", Name: "web"}, ClusterIPs: nil})
	l.store.MarkRestored()
	before := l.store.Serial(cluster.PartNames)
	l.run()
	l.equal(namespace("default"), service("web", "10.0.0.1"))
	if after := l.store.Serial(cluster.PartNames); after <= before || l.store.Version() != 6 {
		t.Errorf("serial %d after %d, version %d", after, before, l.store.Version())
	}
}

// TestNoProbeWithoutLoss: a watch that ends as it was asked to costs no request but the
// next watch.
func TestNoProbeWithoutLoss(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(oneOfEach()...)
	l := newLab(t, server, nil)
	l.synced()
	l.until("all watches", func() bool { return server.Watches() == len(allKinds) })
	probes := func() (n int) {
		for _, r := range server.Requests() {
			if r.Query.Get("limit") == "1" {
				n++
			}
		}
		return n
	}
	if n := probes(); n != 0 {
		t.Errorf("%d lists of one object at the start", n)
	}
	listed := server.Version()
	server.Bookmark() // a watch without any is no watch for the Reflector, which lists anew
	l.until("bookmarks", func() bool { return l.passed(listed) })
	server.DropConnections()
	l.until("all watches again", func() bool { return server.Watches() == len(allKinds) && probes() == len(allKinds) })
}
