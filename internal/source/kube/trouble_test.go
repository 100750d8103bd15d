package kube

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/test/api"
)

func TestDroppedConnections(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(oneOfEach()...)
	l := newLab(t, server, nil)
	l.synced()
	for i := range 2 { // a Reflector waits longer after each watch of less than a second
		l.until("all watches", func() bool { return server.Watches() == len(allKinds) })
		server.DropConnections()
		ip := fmt.Sprintf("10.0.0.%d", i+10)
		server.Put(service("web", ip))
		want := oneOfEach()
		want[1] = service("web", ip)
		l.equal(want...)
	}
}

// TestExpired: a version that is too old leads to a fresh list, in which what was
// deleted meanwhile is missing. That is no failure.
func TestExpired(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(oneOfEach()...)
	l := newLab(t, server, nil)
	l.synced()
	l.equal(oneOfEach()...)
	for _, gone := range []struct {
		how string
		do  func()
	}{
		{"an event", func() { server.FailWatches(410) }},
		{"a refused watch", server.DropConnections},
	} {
		server.Put(service("short", "10.0.0.9"))
		l.equal(append(oneOfEach(), service("short", "10.0.0.9"))...)
		l.until("all watches", func() bool { return server.Watches() == len(allKinds) })
		server.Stop() // nothing of what follows is seen
		server.Delete(service("short", ""))
		server.Expire()
		server.Start()
		gone.do()
		l.equal(oneOfEach()...)
	}
}

// TestRunningWatchExpires: the server itself ends the watches with 410.
func TestRunningWatchExpires(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(oneOfEach()...)
	l := newLab(t, server, nil)
	l.synced()
	l.until("all watches", func() bool { return server.Watches() == len(allKinds) })
	server.FailWatches(410)
	server.Put(service("new", "10.0.0.9"))
	l.equal(append(oneOfEach(), service("new", "10.0.0.9"))...)
	l.stop()
	for _, st := range l.feed.Status() {
		if st.Failures > 0 {
			t.Errorf("%+v", st)
		}
	}
	if lines := l.loud(); lines != nil {
		t.Errorf("logged %q", lines)
	}
}

// TestAway: the Store stays as it is while the API is away, people are told once,
// and once again when it is back.
func TestAway(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Put(oneOfEach()...)
	l := newLab(t, server, nil)
	l.synced()
	l.until("all watches", func() bool { return server.Watches() == len(allKinds) })
	server.Stop()
	failing := func(n int) func() bool {
		return func() bool {
			count := 0
			for _, st := range l.feed.Status() {
				if st.Failing {
					count++
				}
			}
			return count == n
		}
	}
	l.until("all failing", failing(5))
	l.until("more attempts", func() bool { return l.feed.Status()[0].Failures > 2 })
	l.equal(oneOfEach()...)
	server.Put(service("new", "10.0.0.9"))
	server.Start()
	l.equal(append(oneOfEach(), service("new", "10.0.0.9"))...)
	l.until("all well", failing(0))
	l.stop()
	for _, kind := range allKinds {
		lines := slices.DeleteFunc(l.loud(), func(s string) bool { return !strings.Contains(s, " watching "+kind.String()+": ") })
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "error") || !strings.Contains(lines[0], "; keeping known objects, last contact with the server ") || !strings.HasSuffix(lines[0], "s ago, retrying") ||
			!strings.HasPrefix(lines[1], "info watching "+kind.String()+": recovered after ") {
			t.Errorf("logged %q", lines)
		}
	}
}

// TestRefused: the messages say what an operator can do.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		status int
		want   string
	}{
		{401, "want credentials that the API server accepts"},
		{403, `want a ClusterRole with the verbs list and watch on endpointslices in apiGroups ["discovery.k8s.io"]`},
		{404, "want an API server that has endpointslices in discovery.k8s.io/v1"},
		{500, "the test refuses"},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			t.Parallel()
			server := api.New(t)
			server.Refuse(c.status)
			l := newLab(t, server, nil)
			l.until("failure", func() bool { return l.feed.Status()[cluster.KindSlice].Failing })
			if st := l.feed.Status()[cluster.KindSlice]; !strings.Contains(st.LastError, c.want) || st.Synced {
				t.Errorf("%+v, want %s", st, c.want)
			}
			// The line comes after the status. Not of another kind: nobody waits for those that a server may not have.
			var said []string
			l.until("a line", func() bool {
				said = slices.DeleteFunc(l.loud(), func(line string) bool { return !strings.HasPrefix(line, "error watching endpointslices: ") })
				return len(said) > 0
			})
			if len(said) != 1 || !strings.HasSuffix(said[0], "; nothing is known yet, retrying") {
				t.Errorf("logged %q", said)
			}
			if l.store.Synced() {
				t.Error("synced")
			}
			server.Refuse(0)
			l.synced()
		})
	}
}

// TestReasonComesFirst: a line about a server that is away has the reason, and not the
// request, which is long.
func TestReasonComesFirst(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Stop()
	l := newLab(t, server, nil)
	l.until("a line of each kind", func() bool { return len(l.loud()) >= len(allKinds) })
	host := strings.TrimPrefix(server.URL, "http://")
	for _, kind := range allKinds {
		want := fmt.Sprintf("error watching %v: no answer from %s: dial tcp %s: connect: connection refused; nothing is known yet, retrying", kind, host, host)
		if lines := l.loud(); !slices.Contains(lines, want) {
			t.Errorf("logged %q, want %q", lines, want)
		}
	}
}

// TestStopWhileTheServerIsAway: nothing sleeps on.
func TestStopWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	server := api.New(t)
	server.Stop()
	l := newLab(t, server, nil)
	l.until("failure", func() bool { return l.feed.Status()[0].Failures > 1 })
	l.stop()
}

func TestImpatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := cancelableClock{ctx: ctx}
		begin := time.Now()
		if at := <-c.After(time.Hour); at.Sub(begin) != time.Hour {
			t.Errorf("after %v", at.Sub(begin))
		}
		begin = time.Now()
		time.AfterFunc(time.Second, cancel)
		if at := <-c.After(time.Hour); at.Sub(begin) != time.Second {
			t.Errorf("after %v", at.Sub(begin))
		}
	})
}

// TestSequences makes random changes while things go wrong; in the end the Store
// equals the API.
func TestSequences(t *testing.T) {
	for run := range 6 {
		t.Run(fmt.Sprint(run), func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			server := api.New(t)
			if run%2 == 1 {
				server.NoWatchList()
			}
			l := newLab(t, server, nil)
			objects := map[string]runtime.Object{}
			for range 200 {
				o := anyObject(random)
				key := fmt.Sprintf("%T %s", o, o.(metav1.Object).GetName())
				switch n := random.IntN(100); {
				case n < 60:
					objects[key] = o
					server.Put(o)
				case n < 90:
					delete(objects, key)
					server.Delete(o)
				case n < 93:
					server.Bookmark()
				case n < 95:
					server.DropConnections()
				case n < 97:
					server.Expire()
				case n < 98:
					server.FailWatches([]int{410, 500}[random.IntN(2)])
				default:
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
				}
			}
			var want []runtime.Object
			for _, o := range objects {
				want = append(want, o)
			}
			l.equal(want...)
			l.synced()
		})
	}
}

// anyObject draws from few names, so that changes meet.
func anyObject(random *rand.Rand) runtime.Object {
	n := random.IntN(4)
	switch random.IntN(5) {
	case 0:
		return namespace(fmt.Sprintf("ns%d", n))
	case 1:
		return service([]string{"web", "db"}[n%2], fmt.Sprintf("10.0.0.%d", random.IntN(9)+1))
	case 2:
		s := apiSlice(fmt.Sprintf("web-%d", n), "")
		for i := range random.IntN(3) {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.1.%d.%d", n, i)}})
		}
		return s
	case 3:
		return pod(fmt.Sprintf("pod%d", n), "10.1.0.1", []corev1.PodPhase{corev1.PodRunning, corev1.PodSucceeded, corev1.PodPending}[random.IntN(3)])
	}
	return node(fmt.Sprintf("node%d", n))
}
