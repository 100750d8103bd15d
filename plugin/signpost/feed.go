package signpost

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coredns/caddy"
	"k8s.io/client-go/rest"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/loglimit"
	"github.com/signpost-dns/signpost/internal/snapshot"
	"github.com/signpost-dns/signpost/internal/source"
	"github.com/signpost-dns/signpost/internal/source/kube"
	"github.com/signpost-dns/signpost/internal/source/manifest"
)

// feedConfig says where the cluster's objects come from. It is comparable: stanzas with
// equal configurations share one feed and one index.
type feedConfig struct {
	kube        kube.Config
	manifests   string // a folder in place of the API
	podNames    bool   // label endpoints by pod name
	pods        bool   // watch pods too
	podLabels   bool   // and keep their labels, for the plugin metadata
	imports     bool   // watch ServiceImports and their EndpointSlices
	noEndpoints bool   // do not watch EndpointSlices
	labels      string // selector of Services, EndpointSlices and pods
	maxInFlight int    // requests at once; 0: no limit
	namespaces  string // the only ones, sorted, with a space between; empty: all

	namespaceLabels string // selector of namespaces
	files           [sha256.Size]byte
}

// kinds returns the kinds that the feed watches.
func (f *feedConfig) kinds() []cluster.Kind {
	kinds := []cluster.Kind{cluster.KindService, cluster.KindNamespace}
	if !f.noEndpoints {
		kinds = append(kinds, cluster.KindSlice)
	}
	if f.imports {
		kinds = append(kinds, cluster.KindServiceImport)
	}
	if f.imports && !f.noEndpoints {
		kinds = append(kinds, cluster.KindImportedSlice)
	}
	if f.pods {
		kinds = append(kinds, cluster.KindPod)
	}
	return kinds
}

// parseSelector returns a label selector in canonical form, so that equal ones compare equal.
func parseSelector(text string) (string, error) { return source.ParseSelector(text) }

// feed fills one index for all stanzas of this process with the same configuration, in all
// server blocks and across a reload. A new configuration takes over the index of the old
// one, so it is synced at once and never twice in memory.
type feed struct {
	config feedConfig
	store  *cluster.Store
	source running
	begun  time.Time
	users  int
	stop   context.CancelFunc
	done   chan struct{}
	keeps  map[string]*keeping // by folder
	asOf   time.Time           // of the index before the first sync, if it was restored
}

// running is a source that feeds a store.
type running interface {
	Run(context.Context)
	Status() []source.Status
}

// feeds holds the feeds that run in this process.
var feeds = struct {
	sync.Mutex
	byConfig map[feedConfig]*feed
	fresh    []*lease // started since the last reload began
}{byConfig: map[feedConfig]*feed{}}

// newestFeeds returns the feeds by the name of their source. During a reload that changes
// how a source is read, two feeds may have the same name. Series must be unique, so the
// newer feed counts.
func newestFeeds() map[string]*feed {
	feeds.Lock()
	defer feeds.Unlock()
	byName := map[string]*feed{}
	for _, f := range feeds.byConfig {
		name := f.config.name()
		if other := byName[name]; other == nil || other.begun.Before(f.begun) {
			byName[name] = f
		}
	}
	return byName
}

// lease is one stanza's reference to a feed.
type lease struct {
	config   feedConfig
	rest     *rest.Config // nil with manifests
	snapshot snapshotConfig
	feed     *feed         // nil unless started
	over     chan struct{} // closed by release
}

// open checks the configuration without starting anything.
func (f feedConfig) open() (*lease, error) {
	if f.manifests != "" {
		return &lease{config: f, over: make(chan struct{})}, nil
	}
	rc, err := f.kube.REST()
	if err != nil {
		return nil, err
	}
	f.files = digest(f.kube.Kubeconfig, f.kube.CertFile, f.kube.KeyFile, f.kube.CAFile)
	return &lease{config: f, rest: rc, over: make(chan struct{})}, nil
}

// digest returns a hash that differs if credentials changed under the same file names.
func digest(files ...string) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range files {
		if name == "" {
			continue
		}
		content, err := os.ReadFile(name)
		fmt.Fprintf(h, "%s %d %v\n", name, len(content), err != nil)
		h.Write(content)
	}
	h.Sum(sum[:0])
	return sum
}

// identity describes what is in the index: the server, with its authority because many
// clusters use the same address, and how it is read. It does not contain the zones, which
// the index does not know, nor the client's credentials.
func (l *lease) identity() string {
	c := l.config
	c.kube, c.maxInFlight, c.files = kube.Config{}, 0, [sha256.Size]byte{}
	ca := l.rest.CAData
	if len(ca) == 0 && l.rest.CAFile != "" {
		ca, _ = os.ReadFile(l.rest.CAFile) // readable at the start: see kube.Config.REST
	}
	sum := sha256.Sum256(ca)
	return fmt.Sprintf("API server %s with authority %x, read as %+v", l.rest.Host, sum[:8], c)
}

// start joins the feed of this configuration, or starts one.
func (l *lease) start() (*cluster.Store, error) {
	feeds.Lock()
	defer feeds.Unlock()
	f := feeds.byConfig[l.config]
	if f == nil {
		var err error
		if f, err = l.begin(); err != nil {
			return nil, err
		}
		feeds.byConfig[l.config] = f
	}
	f.users++
	l.feed = f
	feeds.fresh = append(feeds.fresh, l)
	f.keep(l)
	return f.store, nil
}

func (l *lease) begin() (*feed, error) {
	f := &feed{config: l.config, store: cluster.NewStore(), begun: time.Now(), done: make(chan struct{}), keeps: map[string]*keeping{}}
	c := &l.config
	convert := source.Options{NamesOnly: true, PodNames: c.podNames, PodLabels: c.podLabels}
	var err error
	if dir := c.manifests; dir != "" {
		f.source, err = manifest.New(dir, f.store, manifest.Options{
			Source: convert, Kinds: c.kinds(), LabelSelector: c.labels, NamespaceSelector: c.namespaceLabels,
			Namespaces: strings.Fields(c.namespaces), Report: report, Logf: logf,
		})
	} else {
		f.source, err = kube.New(l.rest, f.store, kube.Options{
			Source: convert, Kinds: c.kinds(), LabelSelector: c.labels, NamespaceSelector: c.namespaceLabels,
			Namespaces: strings.Fields(c.namespaces), MaxInFlight: c.maxInFlight, Report: report, Logf: logf,
			Programmed: func(p kube.Programmed) {
				observeProgrammed(p.Kind, p.Service, p.Selector, p.Exact, time.Since(p.Since))
			},
		})
	}
	if err != nil {
		return nil, err
	}
	f.restore(l)
	ctx, cancel := context.WithCancel(context.Background())
	f.stop = cancel
	go func() {
		defer close(f.done)
		var all sync.WaitGroup
		all.Go(func() { f.source.Run(ctx) })
		all.Go(func() { f.logSync(ctx) })
		all.Wait()
	}()
	return f, nil
}

// logSync logs the first sync and the number of objects in the index.
func (f *feed) logSync(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-f.store.SyncDone():
	}
	if !f.store.Synced() {
		return
	}
	var counts []string
	for _, kind := range f.config.kinds() {
		counts = append(counts, fmt.Sprintf("%d %v", f.store.Count(kind), kind))
	}
	log.Infof("synced with %s after %v: %s; resourceVersion %d",
		f.config.name(), time.Since(f.begun).Round(time.Millisecond), strings.Join(counts, ", "), f.store.Version())
}

// follow releases the lease at the right moment of the server's life cycle. The index must be
// current as long as the server answers queries: at a reload until the new configuration
// serves, and at the end of the process until after the lameduck time of the plugin health.
func (l *lease) follow(c *caddy.Controller) {
	replaced := false
	c.OnRestart(func() error {
		replaced = true
		return reloading()
	})
	c.OnRestartFailed(func() error {
		replaced = false
		return reloadFailed()
	})
	c.OnShutdown(func() error {
		if !replaced {
			return nil // OnFinalShutdown follows, after that of health
		}
		l.release()
		return reloading() // the reload succeeded: the new leases stay
	})
	c.OnFinalShutdown(func() error {
		l.release()
		return nil
	})
}

// release gives the lease back. The last one stops the feed and waits for its end. It
// writes the last snapshot before, because that may take long.
func (l *lease) release() {
	feeds.Lock()
	f := l.feed
	l.feed = nil
	last := false
	var kept *keeping
	if f != nil {
		close(l.over)
		kept = f.leave(l)
		f.users--
		if last = f.users == 0; last {
			delete(feeds.byConfig, f.config)
		}
	}
	feeds.Unlock()
	kept.end()
	if last {
		f.stop()
		<-f.done
	}
}

// reloading records that leases from now on belong to a new configuration.
func reloading() error {
	feeds.Lock()
	defer feeds.Unlock()
	feeds.fresh = nil
	return nil
}

// reloadFailed releases the leases of a new configuration that failed, because a port is
// taken or another plugin does not start. The server does not shut that configuration down.
func reloadFailed() error {
	feeds.Lock()
	failed := feeds.fresh
	feeds.fresh = nil
	feeds.Unlock()
	for _, l := range failed {
		l.release()
	}
	return nil
}

// logWaitAfter is when to log that the server waits for the first sync.
const logWaitAfter = 500 * time.Millisecond

// wait returns once the index is synced, or if an earlier state of it was restored. It
// returns after the timeout at the latest; names then get SERVFAIL until the sync.
func (l *lease) wait(timeout time.Duration) {
	if l.feed.store.Synced() || l.feed.store.Restored() {
		return
	}
	long, over := time.NewTimer(logWaitAfter), time.NewTimer(timeout)
	defer long.Stop()
	defer over.Stop()
	for {
		select {
		case <-l.feed.store.SyncDone():
			return
		case <-over.C:
			log.Warningf("starting the server before the first sync with %s; names get SERVFAIL until then", l.config.name())
			return
		case <-long.C:
			log.Infof("waiting for the first sync with %s before starting the server", l.config.name())
		}
	}
}

// name describes where the objects come from, and which of them are read.
func (f *feedConfig) name() string {
	name := "the Kubernetes API of this cluster"
	switch k := &f.kube; {
	case f.manifests != "":
		name = "manifests " + f.manifests
	case k.Kubeconfig != "" && k.Context != "":
		name = "kubeconfig " + k.Kubeconfig + " " + k.Context
	case k.Kubeconfig != "":
		name = "kubeconfig " + k.Kubeconfig
	case k.Endpoint != "":
		name = "endpoint " + k.Endpoint
	}
	for _, o := range [][2]string{{"namespaces", f.namespaces}, {"namespace_labels", f.namespaceLabels}, {"labels", f.labels}} {
		if o[1] != "" {
			name += " " + o[0] + " " + o[1]
		}
	}
	return name
}

// logf writes a source's log line.
func logf(level, format string, args ...any) {
	if level != "debug" && !logLines.Pass(format, "") {
		return
	}
	switch level {
	case "error":
		log.Errorf(format, args...)
	case "warning":
		log.Warningf(format, args...)
	case "debug":
		log.Debugf(format, args...)
	default:
		log.Infof(format, args...)
	}
}

// report counts and logs a part of an object that was left out.
func report(p source.Problem) {
	problems.WithLabelValues(p.Ref.Kind.String()).Inc()
	if logLines.Pass("an object is not used as it stands", p.Ref.Key.Namespace) {
		log.Warning(p.String())
	}
}

// reportName reports a name that does not fit into a message.
func reportName(ref cluster.Ref, name string) {
	report(source.Problem{Ref: ref, Field: "DNS name", Value: name, Want: "at most 255 octets; this name is left out"})
}

// logLines bounds the lines that objects cause.
var logLines = loglimit.NewGate(func(l loglimit.Left) {
	log.Warningf("%d lines were left out: %s", l.Lines, l.Cause)
})

// snapshotConfig says where to keep snapshots of the index; the zero value keeps none. It
// is not part of feedConfig, so stanzas with and without it share an index.
type snapshotConfig struct {
	dir    string
	maxAge time.Duration
}

// keeping is a running snapshot.Keeper, shared by one or more stanzas.
type keeping struct {
	keeper *snapshot.Keeper
	users  int
	stop   context.CancelFunc
	done   chan struct{} // nil until it runs
}

// keeper returns the Keeper of the lease's folder, and creates it if there is none. It
// returns nil if the lease wants no snapshot. The caller holds the lock of feeds.
func (f *feed) keeper(l *lease) *snapshot.Keeper {
	dir := l.snapshot.dir
	if dir == "" {
		return nil
	}
	if f.keeps[dir] == nil {
		f.keeps[dir] = &keeping{keeper: snapshot.New(f.store, snapshot.Options{
			Dir: dir, Identity: l.identity(), MaxAge: l.snapshot.maxAge, Heard: f.heard, Logf: logf,
		})}
	}
	return f.keeps[dir].keeper
}

// keep starts to write the index to the lease's folder. The caller holds the lock of feeds.
func (f *feed) keep(l *lease) {
	keeper := f.keeper(l)
	if keeper == nil {
		return
	}
	k := f.keeps[l.snapshot.dir]
	if k.users++; k.done != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	k.stop, k.done = cancel, make(chan struct{})
	go func() {
		defer close(k.done)
		keeper.Run(ctx)
	}()
}

// leave ends a lease's use of a Keeper. It returns the Keeper if this was its last user,
// else nil. The caller holds the lock of feeds.
func (f *feed) leave(l *lease) *keeping {
	k := f.keeps[l.snapshot.dir]
	if k == nil {
		return nil
	}
	if k.users--; k.users > 0 {
		return nil
	}
	delete(f.keeps, l.snapshot.dir)
	return k
}

// lastWrite is how long a shutdown waits for the last snapshot, because a disk may hang.
const lastWrite = 5 * time.Second

// end writes a last snapshot and stops. It does nothing for nil.
func (k *keeping) end() {
	if k == nil {
		return
	}
	k.stop()
	select {
	case <-k.done:
	case <-time.After(lastWrite):
		log.Warningf("the last snapshot was not written within %v", lastWrite)
	}
}

// restore fills the index of a feed that does not run yet. The caller holds the lock of feeds.
func (f *feed) restore(l *lease) {
	if k := f.keeper(l); k != nil && k.Restore() {
		f.asOf = k.Status().Heard
	}
}

// heard returns when the source last confirmed the contents of the index, or zero if it
// never did. Until the first sync it is the time in the snapshot.
func (f *feed) heard() time.Time {
	if !f.store.Synced() {
		return f.asOf
	}
	var oldest time.Time
	for _, st := range f.source.Status() {
		if st.LastEvent.IsZero() {
			continue // no namespace is watched
		}
		if oldest.IsZero() || st.LastEvent.Before(oldest) {
			oldest = st.LastEvent
		}
	}
	return oldest
}

// snapshots returns the state of each of a feed's snapshots, by folder.
func (f *feed) snapshots() map[string]snapshot.Status {
	feeds.Lock()
	defer feeds.Unlock()
	all := map[string]snapshot.Status{}
	for dir, k := range f.keeps {
		all[dir] = k.keeper.Status()
	}
	return all
}
