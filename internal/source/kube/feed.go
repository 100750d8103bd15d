package kube

import (
	"context"
	"fmt"
	"net/http"
	"slices"
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

// Options are what a Feed needs to know besides the way to the API.
type Options struct {
	Source source.Options
	Kinds  []cluster.Kind // to be watched; empty: Services, EndpointSlices and Namespaces

	// Label selectors in kubectl's spelling; empty: everything. LabelSelector
	// is for Services, EndpointSlices and pods, as the plugin's option `labels`.
	LabelSelector     string
	NamespaceSelector string
	// Node is the only Node to watch; empty: all. A forwarder wants its own.
	Node string

	// Report is told what of an object cannot be used, once per object until that
	// changes. It is called from one goroutine at a time. It may be nil.
	Report func(source.Problem)
	// Logf writes a line for people; the level is debug, info, warning or error.
	// It is called from any goroutine. It may be nil.
	Logf func(level, format string, args ...any)
}

// Feed keeps a Store equal to the API. Make one with New.
type Feed struct {
	logf    func(level, format string, args ...any)
	client  *http.Client
	watches []*link
	calls   sync.RWMutex // held for reading by requests in flight, for which Reflectors do not wait
}

// New prepares a feed; Run starts it. The store is marked as synced once every
// kind has been listed.
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
	for name, text := range map[string]string{"label selector": o.LabelSelector, "namespace selector": o.NamespaceSelector} {
		if _, err := labels.Parse(text); err != nil {
			return nil, fmt.Errorf("%s %q: %w: want a selector like app=web,tier!=test", name, text, err)
		}
	}
	clients, err := newClients(rc, o.Logf)
	if err != nil {
		return nil, err
	}
	f := &Feed{logf: o.Logf, client: clients.http}
	barrier := &barrier{store: store, missing: len(o.Kinds)}
	reports := newReports(o.Report)
	for i, kind := range o.Kinds {
		if slices.Contains(o.Kinds[:i], kind) || int(kind) >= len(resources) {
			return nil, fmt.Errorf("watching %v: want each kind once, of services, endpointslices, namespaces, pods, nodes, servicecidrs", kind)
		}
		s := newSink(kind, store, o.Source, reports, &health{kind: kind, logf: o.Logf}, barrier.listed)
		f.watches = append(f.watches, &link{
			resource: &resources[kind], client: clients.of(kind), selector: o.selector(kind), fields: o.fields(kind), sink: s, calls: &f.calls,
		})
	}
	return f, nil
}

func (o *Options) selector(kind cluster.Kind) string {
	switch kind {
	case cluster.KindService, cluster.KindSlice, cluster.KindPod:
		return o.LabelSelector
	case cluster.KindNamespace:
		return o.NamespaceSelector
	}
	return ""
}

func (o *Options) fields(kind cluster.Kind) string {
	if kind == cluster.KindNode && o.Node != "" {
		return fields.OneTermEqualSelector("metadata.name", o.Node).String()
	}
	return resources[kind].fields
}

// Run feeds the Store until ctx is done; then no goroutine or connection of it is
// left. A Feed runs once.
func (f *Feed) Run(ctx context.Context) {
	// client-go logs what happens to a watch for its developers; what concerns
	// operators, link and health say. So its lines are for debugging.
	logger := klog.New(&logSink{logf: f.logf})
	ctx = klog.NewContext(ctx, logger)
	var all sync.WaitGroup
	for _, w := range f.watches {
		r := cache.NewReflectorWithOptions(w.listWatch(), w.resource.object, w.sink, cache.ReflectorOptions{
			Name: w.resource.name, TypeDescription: w.resource.name, Logger: &logger, Clock: impatient{ctx: ctx},
		})
		all.Go(func() { r.RunWithContext(ctx) })
		if w.sink.holder != nil {
			all.Go(func() { w.sink.release(ctx) })
		}
	}
	all.Wait()
	f.calls.Lock() // the last request is over
	defer f.calls.Unlock()
	utilnet.CloseIdleConnectionsFor(f.client.Transport)
}

// Status tells how fresh each kind is.
func (f *Feed) Status() []source.Status {
	var out []source.Status
	for _, w := range f.watches {
		out = append(out, w.sink.health.get())
	}
	return out
}

// barrier marks the Store as synced when no kind is missing any more.
type barrier struct {
	store   *cluster.Store
	mu      sync.Mutex
	missing int
}

func (b *barrier) listed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.missing--; b.missing == 0 {
		b.store.MarkSynced()
	}
}

// impatient is the real clock, but for a Reflector that sleeps although its
// context is done: in its backoff while the server refuses connections, which
// would hold up a shutdown or reload for up to a minute.
type impatient struct {
	clock.RealClock
	ctx context.Context
}

// After fires after d, or when the context is done.
func (c impatient) After(d time.Duration) <-chan time.Time {
	ctx, cancel := context.WithTimeout(c.ctx, d)
	fired := make(chan time.Time, 1)
	context.AfterFunc(ctx, func() {
		cancel()
		fired <- time.Now()
	})
	return fired
}

var _ clock.WithTicker = impatient{}
