package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/source"
)

// Options configure a Feed.
type Options struct {
	Source source.Options
	Kinds  []cluster.Kind // kinds to watch; empty: Services, EndpointSlices and Namespaces

	// Label selectors in kubectl's syntax; empty selects everything. LabelSelector applies to
	// Services, EndpointSlices and pods, like the plugin's option `labels`. With a
	// NamespaceSelector, only objects in matching Namespaces are watched.
	LabelSelector     string
	NamespaceSelector string
	// Namespaces limits the watches; empty: all. They are assumed to exist, because no Role
	// allows to watch Namespaces themselves.
	Namespaces []string
	// MaxInFlight limits the concurrent requests; 0: no limit. Running watches do not
	// count: see gate.
	MaxInFlight int
	// Node is the only Node to watch; empty: all. A forwarder watches its own.
	Node string

	// Report is called with each unusable part of an object, once per object until that
	// changes, from one goroutine at a time. It may be nil.
	Report func(source.Problem)
	// Programmed is called for each change that a watch brought, after readers of the
	// Store see it. It must be fast: the next event waits. It may be nil.
	Programmed func(Programmed)
	// Logf writes a log line; the level is debug, info, warning or error. It is called
	// from any goroutine. It may be nil.
	Logf func(level, format string, args ...any)
}

// Feed keeps a Store equal to the API. Create one with New.
type Feed struct {
	options  Options
	clients  *clients
	store    *cluster.Store
	reports  *reports
	barrier  *barrier
	wide     []*link // cluster-wide watches
	scope    *scope  // watches of namespaces; nil: none
	gate     gate    // limits the requests of all watches
	timeouts timeouts
	restores *restores
	calls    sync.RWMutex // read-locked by requests in flight, for which Reflectors do not wait
}

// New prepares a feed; Run starts it. The store is marked as synced once every kind has
// been listed in every namespace.
func New(rc *rest.Config, store *cluster.Store, o Options) (*Feed, error) {
	if o.Report == nil {
		o.Report = func(source.Problem) {}
	}
	if o.Logf == nil {
		o.Logf = func(string, string, ...any) {}
	}
	if len(o.Kinds) == 0 {
		o.Kinds = []cluster.Kind{cluster.KindService, cluster.KindSlice, cluster.KindNamespace}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	clients, err := newClients(rc, o.Logf)
	if err != nil {
		return nil, err
	}
	f := &Feed{options: o, clients: clients, store: store, reports: newReports(o.Report), barrier: &barrier{store: store}, gate: newGate(o.MaxInFlight), timeouts: usual, restores: newRestores(store, o.Logf)}
	wide, inside := o.split()
	if len(inside) > 0 {
		f.barrier.expect() // the list of namespaces
		f.scope = newScope(f, inside, o.Namespaces)
	}
	for _, kind := range wide {
		f.wide = append(f.wide, f.newLink(kind, ""))
	}
	return f, nil
}

func (o *Options) check() error {
	for name, text := range map[string]string{"label selector": o.LabelSelector, "namespace selector": o.NamespaceSelector} {
		if _, err := labels.Parse(text); err != nil {
			return fmt.Errorf("%s %q: %w: want a selector like app=web,tier!=test", name, text, err)
		}
	}
	if len(o.Namespaces) > 0 && o.NamespaceSelector != "" {
		return fmt.Errorf("namespaces %s and the namespace selector %q: want one of them", strings.Join(o.Namespaces, " "), o.NamespaceSelector)
	}
	for i, kind := range o.Kinds {
		if slices.Contains(o.Kinds[:i], kind) || int(kind) >= len(resources) {
			return fmt.Errorf("watching %v: want each kind once, of those in package cluster", kind)
		}
	}
	return nil
}

// split returns the kinds to watch cluster-wide and those to watch per namespace.
func (o *Options) split() (wide, inside []cluster.Kind) {
	for _, kind := range o.Kinds {
		switch {
		case kind == cluster.KindNamespace && len(o.Namespaces) > 0:
		case !kind.Namespaced() || len(o.Namespaces) == 0 && o.NamespaceSelector == "":
			wide = append(wide, kind)
		default:
			inside = append(inside, kind)
		}
	}
	if o.NamespaceSelector != "" && len(inside) > 0 && !slices.Contains(wide, cluster.KindNamespace) {
		wide = append(wide, cluster.KindNamespace)
	}
	return wide, inside
}

// newLink prepares the watch of a kind, in one namespace or, with "", in all. The
// store syncs after its first list.
func (f *Feed) newLink(kind cluster.Kind, namespace string) *link {
	f.barrier.expect()
	s := newSink(kind, f.store, f.options.Source, f.reports,
		&health{kind: kind, namespace: namespace, logf: f.options.Logf}, f.restores, sync.OnceFunc(f.barrier.listed))
	s.namespace, s.programmed.tell = namespace, f.options.Programmed
	l := &link{
		resource: &resources[kind], namespace: namespace, client: f.clients.of(kind),
		selector: f.options.selector(kind), fields: f.options.fields(kind), sink: s, into: s, gate: f.gate, calls: &f.calls, timeouts: f.timeouts,
	}
	if kind == cluster.KindNamespace && f.scope != nil {
		l.into = follower{s, f.scope}
	}
	return l
}

func (o *Options) selector(kind cluster.Kind) string {
	switch kind {
	case cluster.KindService, cluster.KindSlice, cluster.KindPod, cluster.KindServiceImport, cluster.KindImportedSlice:
		return both(o.LabelSelector, resources[kind].labels)
	case cluster.KindNamespace:
		return o.NamespaceSelector
	}
	return ""
}

// both combines two selectors; an empty one selects everything.
func both(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "," + b
}

func (o *Options) fields(kind cluster.Kind) string {
	if kind == cluster.KindNode && o.Node != "" {
		return fields.OneTermEqualSelector("metadata.name", o.Node).String()
	}
	return resources[kind].fields
}

// Run feeds the Store until ctx is done. It returns when all its goroutines and connections
// have ended. A Feed runs once.
func (f *Feed) Run(ctx context.Context) {
	if names := f.options.Namespaces; len(names) > 0 {
		var there []cluster.Object
		for _, name := range names {
			there = append(there, &cluster.Namespace{Name: name})
		}
		f.store.Replace(0, cluster.KindNamespace, there)
	}
	var all sync.WaitGroup
	if f.scope != nil {
		all.Go(func() { f.scope.run(ctx) })
	}
	for _, l := range f.wide {
		f.run(ctx, l, &all)
	}
	all.Wait()
	f.calls.Lock() // waits for the last request
	defer f.calls.Unlock()
	utilnet.CloseIdleConnectionsFor(f.clients.http.Transport)
}

// run starts the watch of a link.
func (f *Feed) run(ctx context.Context, l *link, all *sync.WaitGroup) {
	// client-go logs the progress of a watch for its developers. link and health report
	// what operators need, so client-go's lines are for debugging.
	logger := klog.New(&logSink{logf: f.options.Logf})
	ctx = klog.NewContext(ctx, logger)
	if f.store.Restored() && !f.store.Synced() {
		l.sink.resumes(f.store.Version())
	}
	r := cache.NewReflectorWithOptions(l.listWatch(ctx), l.resource.object, l.into, cache.ReflectorOptions{
		Name: l.resource.name, TypeDescription: l.resource.name, Logger: &logger, Clock: cancelableClock{ctx: ctx},
	})
	all.Go(func() { r.RunWithContext(ctx) })
	if l.sink.holder != nil {
		all.Go(func() { l.sink.release(ctx) })
	}
}

// Status returns how fresh each watched kind is.
func (f *Feed) Status() []source.Status {
	var out []source.Status
	for _, l := range f.wide {
		out = append(out, l.sink.health.get())
	}
	if f.scope == nil {
		return out
	}
	for _, kind := range f.scope.kinds {
		links, past := f.scope.links(kind)
		out = append(out, status(kind, links, past))
	}
	return out
}

// barrier marks the Store as synced when all expected lists have arrived.
type barrier struct {
	store   *cluster.Store
	mu      sync.Mutex
	missing int
}

// expect makes the Store wait for one more list.
func (b *barrier) expect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.missing++
}

func (b *barrier) listed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.missing--; b.missing == 0 {
		b.store.MarkSynced()
	}
}

// cancelableClock makes a Reflector's backoff return on context cancellation. With the real
// clock, a Reflector sleeps through it while the server refuses connections, which would
// delay a shutdown or reload by up to a minute.
type cancelableClock struct {
	clock.RealClock
	ctx context.Context
}

// After fires after d or when the context is done.
func (c cancelableClock) After(d time.Duration) <-chan time.Time {
	ctx, cancel := context.WithTimeout(c.ctx, d)
	fired := make(chan time.Time, 1)
	context.AfterFunc(ctx, func() {
		cancel()
		fired <- time.Now()
	})
	return fired
}

var _ clock.WithTicker = cancelableClock{}
