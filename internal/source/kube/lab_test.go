package kube

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
	"github.com/signpost-dns/signpost/test/api"
)

// global catches what client-go writes past the logger that it was given.
var global = &log{}

func TestMain(m *testing.M) {
	klog.SetLogger(klog.New(&logSink{logf: global.logf}))
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if lines := global.said(); len(lines) > 0 {
			fmt.Fprintf(os.Stderr, "client-go wrote to the process's log:\n%s\n", strings.Join(lines, "\n"))
			code = 1
		}
		os.Exit(code)
	}), goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// log is a Logf that remembers.
type log struct {
	mu    sync.Mutex
	lines []string
}

func (l *log) logf(level, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, level+" "+fmt.Sprintf(format, args...))
}

func (l *log) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// loud is what people see: no debug lines.
func (l *log) loud() []string {
	return slices.DeleteFunc(l.said(), func(s string) bool { return strings.HasPrefix(s, "debug") })
}

// lab is a Feed on a test API.
type lab struct {
	*testing.T
	*log
	api      *api.Server
	store    *cluster.Store
	feed     *Feed
	problems []source.Problem
	stop     func()
}

var allKinds = []cluster.Kind{cluster.KindService, cluster.KindSlice, cluster.KindNamespace, cluster.KindPod, cluster.KindNode, cluster.KindServiceCIDR}

// newLab runs a feed of all kinds until the test ends.
func newLab(t *testing.T, server *api.Server, change func(*Options)) *lab {
	t.Helper()
	l := prepareLab(t, server, change)
	l.run()
	return l
}

func prepareLab(t *testing.T, server *api.Server, change func(*Options)) *lab {
	t.Helper()
	l := &lab{T: t, log: &log{}, api: server, store: cluster.NewStore()}
	rc, err := Config{Endpoint: server.URL, UserAgent: "lab"}.REST()
	must(t, err)
	o := Options{Kinds: allKinds, Logf: l.logf, Report: func(p source.Problem) { l.problems = append(l.problems, p) }}
	if change != nil {
		change(&o)
	}
	l.feed, err = New(rc, l.store, o)
	must(t, err)
	return l
}

func (l *lab) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.feed.Run(ctx)
	}()
	l.stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	l.Cleanup(l.stop)
}

func (l *lab) until(what string, ok func() bool) {
	l.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			l.Fatalf("never: %s\nlog:\n%s", what, strings.Join(l.said(), "\n"))
		}
	}
}

func (l *lab) synced() {
	l.Helper()
	l.until("synced", l.store.Synced)
}

// equal waits until the Store holds exactly what these objects say.
func (l *lab) equal(objects ...runtime.Object) {
	l.Helper()
	twin := cluster.NewStore()
	for _, obj := range objects {
		if o, _ := source.Convert(obj, source.Options{}); o != nil {
			twin.Put(0, o)
		}
	}
	want, got := dump(twin), []string(nil)
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if got = dump(l.store); slices.Equal(want, got) {
			return
		}
		if time.Now().After(end) {
			l.Fatalf("-want +got:\n%s\nlog:\n%s", cmp.Diff(want, got), strings.Join(l.said(), "\n"))
		}
	}
}

func dump(s *cluster.Store) []string {
	var out []string
	for e := range s.Services() {
		line := fmt.Sprintf("service %v %v %v", e.Service.Key, e.Service.ClusterIPs, e.Service.Ports)
		for ep, ports := range e.Endpoints() {
			line += fmt.Sprintf(" %v/%s/%v/%v", ep.Addr, ep.Hostname, ep.Conditions, ports)
		}
		out = append(out, line)
	}
	for name := range s.Namespaces() {
		out = append(out, "namespace "+name)
	}
	for _, k := range allKinds {
		out = append(out, fmt.Sprintf("%v %d", k, s.Count(k)))
	}
	slices.Sort(out)
	return out
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}
}

func pod(name, ip string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Status:     corev1.PodStatus{Phase: phase, PodIP: ip},
	}
}

func node(name string) *corev1.Node { return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}} }

func oneOfEach() []runtime.Object {
	return []runtime.Object{
		namespace("default"), service("web", "10.0.0.1"), apiSlice("web-1", "", "10.1.0.1", "10.1.0.2"),
		pod("web-a", "10.1.0.1", corev1.PodRunning), node("n1"),
	}
}
