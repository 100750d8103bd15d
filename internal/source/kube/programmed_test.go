package kube

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/test/api"
)

// told gathers what a feed says was programmed.
type told struct {
	mu    sync.Mutex
	lines []string
}

func (l *told) tell(p Programmed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf("%v %s %s", p.Kind, p.Service.Name, p.Since.UTC().Format("05.999")))
}

func (l *told) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// triggered is the slice web-1 of the Service web, written by the controller for a
// change in that second.
func triggered(second string, addrs ...string) *discoveryv1.EndpointSlice {
	s := apiSlice("web-1", "0", addrs...)
	s.Labels[discoveryv1.LabelManagedBy] = "endpointslice-controller.k8s.io"
	s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-06-01T12:00:" + second + "Z"}
	return s
}

func createdAt(s *corev1.Service, second int) *corev1.Service {
	s.CreationTimestamp = metav1.NewTime(time.Date(2026, 6, 1, 12, 0, second, 0, time.UTC))
	return s
}

func TestProgrammed(t *testing.T) {
	server := api.New(t)
	web := func() *corev1.Service { return createdAt(service("web", "10.96.0.1"), 1) }
	server.Put(web(), triggered("01.5", "10.1.0.1"))
	var said told
	l := newLab(t, server, func(o *Options) {
		o.Kinds = []cluster.Kind{cluster.KindService, cluster.KindSlice}
		o.Programmed = said.tell
	})
	l.synced()
	l.until("watches", func() bool { return server.Watches() == 2 })
	mark := 0
	// seen lets every event so far arrive: a Service and a slice that come last, whose
	// own lines are left out.
	seen := func() []string {
		mark++
		other := service(fmt.Sprint("mark-", mark), "")
		server.Put(other)
		slice := apiSlice(fmt.Sprint("mark-", mark), "0", fmt.Sprint("10.2.0.", mark))
		slice.Labels[discoveryv1.LabelServiceName] = other.Name
		server.Put(slice)
		l.until("the mark", func() bool {
			e := l.store.Service("default", other.Name)
			return e != nil && e.Size() == 1
		})
		return said.take()
	}
	changed := web()
	changed.Spec.ClusterIPs = []string{"10.96.0.1", "fd00::1"}
	changed.ManagedFields = []metav1.ManagedFieldsEntry{{Time: new(metav1.NewTime(time.Date(2026, 6, 1, 12, 0, 9, 0, time.UTC)))}}
	labelled := triggered("02.5", "10.1.0.1", "10.1.0.2")
	labelled.Labels["x"] = "y"
	for _, step := range []struct {
		name string
		do   func()
		want []string
	}{
		{"the first list", func() {}, nil},
		{"a new endpoint", func() { server.Put(triggered("02.5", "10.1.0.1", "10.1.0.2")) }, []string{"endpointslices web 02.5"}},
		{"another label", func() { server.Put(labelled) }, nil},
		{"a Service that changed", func() { server.Put(changed) }, []string{"services web 09"}},
		{"nothing new of a Service", func() { server.Put(changed) }, nil},
		{"a new Service", func() { server.Put(createdAt(service("new", "10.96.0.2"), 3)) }, []string{"services new 03"}},
		{"a slice of nobody", func() {
			s := triggered("04", "10.1.0.3")
			s.Name, s.Labels[discoveryv1.LabelServiceName] = "nobody-1", "nobody"
			server.Put(s)
		}, nil},
		{"a Service that goes", func() { server.Delete(service("new", "")) }, nil},
	} {
		step.do()
		if got := seen(); !slices.Equal(got, step.want) {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
	// What was missed comes by a list, and is not counted.
	server.Stop()
	server.Put(triggered("05", "10.1.0.5"))
	server.Expire()
	server.Start()
	l.until("the list after the expiry", func() bool {
		return l.store.Service("default", "web").ReadyEndpoint(netip.MustParseAddr("10.1.0.5")) != nil
	})
	if got := said.take(); got != nil {
		t.Errorf("a list after an expiry: %q", got)
	}
}

// An endpoint that goes counts once it is seen no more, not while it is held.
func TestProgrammedIsHeldToo(t *testing.T) {
	s, store := sliceSink(t)
	var said told
	s.programmed.tell = said.tell
	store.Put(1, &cluster.Service{Key: web, Headless: true})
	must(t, s.Update(triggered("01", "10.1.0.1", "10.1.0.2")))
	if got := said.take(); !slices.Equal(got, []string{"endpointslices web 01"}) {
		t.Errorf("at first: %q", got)
	}
	must(t, s.Update(triggered("02", "10.1.0.1")))
	if got := said.take(); got != nil {
		t.Errorf("while it is held: %q", got)
	}
	s.letGo(time.Now().Add(holdback))
	if got := said.take(); !slices.Equal(got, []string{"endpointslices web 02"}) {
		t.Errorf("after it: %q", got)
	}
	// Held when a newer event brings it back: only that counts, and it changes nothing.
	must(t, s.Update(triggered("03")))
	must(t, s.Update(triggered("04", "10.1.0.1")))
	if len(s.programmed.held) != 0 {
		t.Error("something is still held")
	}
	must(t, s.Update(triggered("05")))
	must(t, s.Replace(nil, "9"))
	if len(s.programmed.held) != 0 {
		t.Error("a list came, and something is still held")
	}
}
