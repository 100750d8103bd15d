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

// feedConfig says where the cluster's objects come from. It is comparable: stanzas
// with equal ones share one feed and one index.
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

// kinds are what the feed watches.
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

// parseSelector brings a label selector into the form in which equal ones are equal.
func parseSelector(text string) (string, error) { return source.ParseSelector(text) }

// feed fills one index for all stanzas of this process that ask for the same, in
// all server blocks and across a reload: the new configuration takes over the
// index of the old one, so it is synced at once and never twice in memory.
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

// feeds are those that run in this process.
var feeds = struct {
	sync.Mutex
	byConfig map[feedConfig]*feed
	fresh    []*lease // begun since the last reload began
}{byConfig: map[feedConfig]*feed{}}

// newestFeeds returns the feeds by the name of their source. While a reload
// changes how a source is read two feeds may have one name for a moment; series
// must be unique, so the newer one counts.
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

// lease is one stanza's share in a feed.
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

// digest tells whether credentials changed under the same file names.
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

// identity says what is in the index, in words: the server, by its authority too,
// because many clusters have the same address inside; and how it is read. The
// zones are not in it, since the index does not know them, nor is who we are.
func (l *lease) identity() string {
	c := l.config
	c.kube, c.maxInFlight, c.files = kube.Config{}, 0, [sha256.Size]byte{}
	ca := l.rest.CAData
	if len(ca) == 0 && l.rest.CAFile != "" {
		ca, _ = os.ReadFile(l.rest.CAFile) // was read at the start: see kube.Config.REST
	}
	sum := sha256.Sum256(ca)
	return fmt.Sprintf("API server %s with authority %x, read as %+v", l.rest.Host, sum[:8], c)
}

// start joins the feed of this configuration, or begins one.
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
		all.Go(func() { f.tellSync(ctx) })
		all.Wait()
	}()
	return f, nil
}

// tellSync logs the first sync, with what is in the index by then.
func (f *feed) tellSync(ctx context.Context) {
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

// follow ties the share to the server's life. The index must be true as long as queries are
// answered. At a reload that is until the new configuration has taken over, and at the end of the
// process it is beyond the time that the plugin health waits with its option lameduck.
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
			return nil // OnFinalShutdown comes, after that of health
		}
		l.release()
		return reloading() // it went well: what is new stays
	})
	c.OnFinalShutdown(func() error {
		l.release()
		return nil
	})
}

// release gives the share back; the last one stops the feed and waits for its end. The
// last snapshot is written before, because it may take long.
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

// reloading notes that leases from now on are those of a new configuration.
func reloading() error {
	feeds.Lock()
	defer feeds.Unlock()
	feeds.fresh = nil
	return nil
}

// reloadFailed gives back what a new configuration had begun when it failed: a port
// that is taken, or another plugin that does not start. Nobody shuts it down.
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

// syncPatient is when to log that the server waits for the first sync.
const syncPatient = 500 * time.Millisecond

// wait returns once there is something to answer from: the index is synced, or an
// earlier state of it was restored. After the timeout names are answered with
// SERVFAIL until it is synced.
func (l *lease) wait(timeout time.Duration) {
	if l.feed.store.Synced() || l.feed.store.Restored() {
		return
	}
	long, over := time.NewTimer(syncPatient), time.NewTimer(timeout)
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

// name tells people where the objects come from, and which are taken.
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

// report tells of a part of an object that was left out.
func report(p source.Problem) {
	problems.WithLabelValues(p.Ref.Kind.String()).Inc()
	if logLines.Pass("an object is not used as it stands", p.Ref.Key.Namespace) {
		log.Warning(p.String())
	}
}

// reportName tells of a name that does not fit into a message.
func reportName(ref cluster.Ref, name string) {
	report(source.Problem{Ref: ref, Field: "DNS name", Value: name, Want: "at most 255 octets; this name is left out"})
}

// logLines bounds the lines that objects cause.
var logLines = loglimit.NewGate(func(l loglimit.Left) {
	log.Warningf("%d lines were left out: %s", l.Lines, l.Cause)
})

// snapshotConfig says where a stanza wants the index to be kept; the zero value:
// nowhere. It is no part of feedConfig: stanzas with and without it share an index.
type snapshotConfig struct {
	dir    string
	maxAge time.Duration
}

// keeping is a snapshot that is being kept for one or more stanzas.
type keeping struct {
	keeper *snapshot.Keeper
	users  int
	stop   context.CancelFunc
	done   chan struct{} // nil until it runs
}

// keeper returns that of the lease's folder, made if there is none; nil if the
// lease wants no snapshot. With feeds locked.
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

// keep writes the index to the lease's folder from now on. With feeds locked.
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

// leave takes a lease's share back, and returns what nobody keeps any more; nil
// if there is nothing. With feeds locked.
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

// lastWrite is how long a shutdown waits for the last snapshot: a disk that hangs
// must not hold it up.
const lastWrite = 5 * time.Second

// end writes a last snapshot and stops; nil is nothing to end.
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

// restore fills the index of a feed that does not run yet. With feeds locked.
func (f *feed) restore(l *lease) {
	if k := f.keeper(l); k != nil && k.Restore() {
		f.asOf = k.Status().Heard
	}
}

// heard tells when the source last confirmed what is in the index; zero if it
// never did. Until the first sync that is what the snapshot says of itself.
func (f *feed) heard() time.Time {
	if !f.store.Synced() {
		return f.asOf
	}
	var oldest time.Time
	for _, st := range f.source.Status() {
		if st.LastEvent.IsZero() {
			continue // in no namespace is anything to watch
		}
		if oldest.IsZero() || st.LastEvent.Before(oldest) {
			oldest = st.LastEvent
		}
	}
	return oldest
}

// snapshots tells how each of a feed's snapshots does, by folder.
func (f *feed) snapshots() map[string]snapshot.Status {
	feeds.Lock()
	defer feeds.Unlock()
	all := map[string]snapshot.Status{}
	for dir, k := range f.keeps {
		all[dir] = k.keeper.Status()
	}
	return all
}
