package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// bench is a holder between events and a Store, with a clock of its own.
type bench struct {
	holder *holder
	store  *cluster.Store
	now    time.Time
	api    map[string]*cluster.Slice
	count  uint64
}

var web = cluster.Key{Namespace: "default", Name: "web"}

func newBench() *bench {
	b := &bench{holder: newHolder(), store: cluster.NewStore(), now: time.Unix(0, 0), api: map[string]*cluster.Slice{}}
	b.store.Put(0, &cluster.Service{Key: web})
	return b
}

// slice is a slice of web; an endpoint `2-` is not ready and not serving, `2#x` is pod x.
func (b *bench) slice(name string, endpoints ...string) *cluster.Slice {
	var list []cluster.Endpoint
	for _, s := range endpoints {
		s, unready := strings.CutSuffix(s, "-")
		s, pod, named := strings.Cut(s, "#")
		ep := cluster.Endpoint{Addr: netip.MustParseAddr("10.1.0." + s), Conditions: cluster.Ready | cluster.Serving}
		if unready {
			ep.Conditions = 0
		}
		if named {
			ep.Hostname, ep.Pod = pod, cluster.MakePodID(pod)
		}
		list = append(list, ep)
	}
	b.count++
	return cluster.NewSlice(cluster.Key{Namespace: "default", Name: name}, web, b.count, nil, list)
}

// event is what the API says; no endpoints at all is a deletion.
func (b *bench) event(name string, endpoints ...string) {
	key := cluster.Key{Namespace: "default", Name: name}
	var next *cluster.Slice
	if len(endpoints) > 0 {
		next = b.slice(name, endpoints...)
	}
	if b.api[name] = next; next == nil {
		delete(b.api, name)
	}
	b.apply(b.holder.event(b.now, key, next, b.store.Service("default", "web")))
}

func (b *bench) apply(c change) {
	if c.slice == nil {
		b.store.Delete(0, cluster.Ref{Kind: cluster.KindSlice, Key: c.key})
	} else {
		b.store.Put(0, c.slice)
	}
}

func (b *bench) wait(d time.Duration) {
	b.now = b.now.Add(d)
	for _, c := range b.holder.due(b.now) {
		b.apply(c)
	}
}

// shown lists the ready endpoints of the Service: the last byte of each address, with
// the pod if that is known.
func (b *bench) shown() string {
	var out []string
	for ep := range b.store.Service("default", "web").Endpoints() {
		if ep.Has(cluster.Ready) && (ep.Hostname != "" || !ep.Has(cluster.Repeated)) {
			out = append(out, strings.TrimSuffix(strings.TrimPrefix(ep.Addr.String(), "10.1.0.")+"#"+ep.Hostname, "#"))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// settled fails if anything is held.
func (b *bench) settled(t interface{ Errorf(string, ...any) }) {
	if len(b.holder.slices) > 0 || len(b.holder.queue) > 0 {
		t.Errorf("held: %d slices, %d deadlines", len(b.holder.slices), len(b.holder.queue))
	}
}

func TestHolder(t *testing.T) {
	const most = holdback - time.Nanosecond
	for _, c := range []struct {
		name  string
		steps func(b *bench, see func(want string))
	}{
		{"additions go at once", func(b *bench, see func(string)) {
			b.event("a", "1")
			see("1")
			b.event("a", "1", "2")
			b.event("b", "3")
			see("1 2 3")
		}},
		{"an address that leaves stays for holdback", func(b *bench, see func(string)) {
			b.event("a", "1", "2")
			b.event("a", "1")
			see("1 2")
			b.wait(most)
			see("1 2")
			b.wait(1)
			see("1")
		}},
		{"a move is never seen", func(b *bench, see func(string)) {
			b.event("a", "1", "2")
			b.event("b", "3")
			b.event("a", "1")
			b.wait(5 * time.Millisecond)
			see("1 2 3")
			b.event("b", "2", "3")
			see("1 2 3")
			b.wait(holdback)
			see("1 2 3")
		}},
		{"a move in good order waits for nothing", func(b *bench, see func(string)) {
			b.event("a", "1", "2")
			b.event("b", "2", "3")
			b.event("a", "1")
			see("1 2 3")
			b.settled(t)
		}},
		{"a deleted slice stays for holdback", func(b *bench, see func(string)) {
			b.event("a", "1", "2")
			b.event("b", "2")
			b.event("a")
			see("1 2")
			b.wait(holdback)
			see("2")
			b.event("b")
			see("2")
			b.wait(holdback)
			see("")
		}},
		{"additions go at once while something is held", func(b *bench, see func(string)) {
			b.event("a", "1", "2")
			b.event("a", "1")
			b.wait(6 * time.Millisecond)
			b.event("a", "1", "3")
			see("1 2 3")
			b.wait(4 * time.Millisecond)
			see("1 3")
		}},
		{"each address has its own time", func(b *bench, see func(string)) {
			b.event("a", "1", "2", "3")
			b.event("a", "1", "2")
			b.wait(6 * time.Millisecond)
			b.event("a", "1")
			b.wait(4 * time.Millisecond)
			see("1 2")
			b.wait(6 * time.Millisecond)
			see("1")
		}},
		{"an address that comes back is held no more", func(b *bench, see func(string)) {
			b.event("a", "1", "2")
			b.event("a", "1")
			b.wait(5 * time.Millisecond)
			b.event("a", "1", "2")
			b.wait(holdback)
			see("1 2")
			b.event("a", "1")
			b.wait(most)
			see("1 2")
		}},
		{"a deleted slice that comes back", func(b *bench, see func(string)) {
			b.event("a", "1", "2")
			b.event("a")
			b.event("a", "3")
			see("1 2 3")
			b.wait(holdback)
			see("3")
		}},
		{"being held elsewhere is not being elsewhere", func(b *bench, see func(string)) {
			b.event("a", "1")
			b.event("b", "2")
			b.event("a", "3")
			b.wait(5 * time.Millisecond)
			b.event("b", "1", "2")
			b.wait(2 * time.Millisecond)
			b.event("b", "2")
			b.wait(most)
			see("1 2 3")
			b.wait(1)
			see("2 3")
		}},
		{"a pod that moves is never missing, though another has its address", func(b *bench, see func(string)) {
			b.event("a", "1#x", "1#y")
			b.event("a", "1#y")
			see("1#x 1#y")
			b.wait(5 * time.Millisecond)
			b.event("b", "1#x")
			see("1#x 1#y")
			b.wait(holdback)
			see("1#x 1#y")
		}},
		{"a pod that is gone is held, though another has its address", func(b *bench, see func(string)) {
			b.event("a", "1#x")
			b.event("a", "1#y-")
			see("1#x")
			b.wait(holdback)
			see("")
		}},
		{"an address of two slices that leaves both stays for holdback", func(b *bench, see func(string)) {
			b.event("a", "1#x", "2")
			b.event("b", "1#x", "3")
			b.event("a", "2")
			b.event("b", "3")
			see("1#x 2 3")
			b.wait(holdback)
			see("2 3")
		}},
		{"what nobody uses is not held", func(b *bench, see func(string)) {
			b.event("a", "1", "2-")
			b.event("a", "1")
			b.settled(t)
		}},
		{"readiness changes at once", func(b *bench, see func(string)) {
			b.event("a", "1", "2")
			b.event("a", "1", "2-")
			see("1")
			b.settled(t)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench()
			step := 0
			c.steps(b, func(want string) {
				step++
				if got := b.shown(); got != want {
					t.Errorf("at look %d: %q, want %q", step, got, want)
				}
			})
			b.wait(time.Hour)
			b.settled(t)
			b.matchesAPI(t)
		})
	}
}

// matchesAPI: when nothing is held the Store says what the API says.
func (b *bench) matchesAPI(t interface{ Errorf(string, ...any) }) {
	twin := newBench()
	for _, s := range b.api {
		twin.store.Put(0, s)
	}
	if b.shown() != twin.shown() {
		t.Errorf("shown %q, the API has %q", b.shown(), twin.shown())
	}
}

// TestWithoutService: nobody sees the endpoints, so nothing needs to be held.
func TestWithoutService(t *testing.T) {
	b := newBench()
	b.event("a", "1", "2")
	b.store.Delete(0, cluster.Ref{Kind: cluster.KindService, Key: web})
	key := cluster.Key{Namespace: "default", Name: "a"}
	if c := b.holder.event(b.now, key, nil, b.store.Service("default", "web")); c.slice != nil {
		t.Errorf("held %v", c.slice)
	}
	b.settled(t)
}

// TestSliceOfAnotherService: a slice that changes its label goes at once.
func TestSliceOfAnotherService(t *testing.T) {
	b := newBench()
	b.event("a", "1", "2")
	b.event("a", "1") // 2 is held
	next := cluster.NewSlice(cluster.Key{Namespace: "default", Name: "a"}, cluster.Key{Namespace: "default", Name: "other"}, 9, nil, nil)
	if c := b.holder.event(b.now, next.Key, next, nil); c.slice != next {
		t.Errorf("got %v", c.slice)
	}
	b.wait(time.Hour)
	b.settled(t)
}

// TestHolderSequences holds random events against the plain rule: an address is
// shown if the API has it in any slice, or had it less than holdback ago.
func TestHolderSequences(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBench()
		left := map[string]time.Time{} // when an address was last in the API
		has := func() map[string]int {
			out := map[string]int{}
			for _, s := range b.api {
				for _, ep := range s.Endpoints {
					out[strings.TrimPrefix(ep.Addr.String(), "10.1.0.")]++
				}
			}
			return out
		}
		check := func() {
			in, shown := has(), strings.Fields(b.shown())
			for i := range 5 {
				name := fmt.Sprint(i + 1)
				is := slices.Contains(shown, name)
				at, was := left[name]
				recent := was && b.now.Sub(at) < holdback
				if in[name] > 0 && !is || in[name] == 0 && !recent && is || recent && !is && in[name] == 0 {
					t.Fatalf("at %v: %q is shown; %s is in %d slices, left at %v", b.now.Sub(time.Unix(0, 0)), shown, name, in[name], at)
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			b.wait(time.Duration(rapid.IntRange(0, 12).Draw(t, "ms")) * time.Millisecond)
			check()
			before := has()
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "slice")
			b.event(name, rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"1", "2", "3", "4", "5"}), 0, 4, rapid.ID[string]).Draw(t, "endpoints")...)
			for addr := range before {
				if has()[addr] == 0 {
					left[addr] = b.now
				}
			}
			for addr := range has() {
				delete(left, addr)
			}
			check()
			if len(b.holder.slices) > 3 || len(b.holder.queue) > 40 {
				t.Fatalf("held %d slices, %d deadlines", len(b.holder.slices), len(b.holder.queue))
			}
		}
		b.wait(holdback)
		b.settled(t)
		b.matchesAPI(t)
	})
}

func apiSlice(name, version string, addrs ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, ResourceVersion: version,
			Labels: map[string]string{discoveryv1.LabelServiceName: "web"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}})
	}
	return s
}

func sliceSink(t *testing.T) (*sink, *cluster.Store) {
	t.Helper()
	store := cluster.NewStore()
	store.Put(1, &cluster.Service{Key: web})
	quiet := func(string, string, ...any) {}
	return newSink(cluster.KindSlice, store, source.Options{}, newReports(func(source.Problem) {}), &health{kind: cluster.KindSlice, logf: quiet}, newRestores(store, quiet), func() {}), store
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
