package signpost

import (
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/kubernetes/object"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// problems counts the parts of objects that were left out.
var problems = promauto.NewCounterVec(prometheus.CounterOpts{
	Namespace: plugin.Namespace, Subsystem: pluginName, Name: "problems_total",
	Help: "Parts of objects that were left out because they are broken, by kind.",
}, []string{"kind"})

// collector reads the state of all feeds when Prometheus scrapes. Nothing is counted on
// the query path.
type collector struct {
	objects, synced, lastEvent, failures *prometheus.Desc
}

// describe returns the description of a metric of one feed. Its first label is the source.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, pluginName, name), help,
		append([]string{"source"}, labels...), nil)
}

func newCollector() collector {
	return collector{
		objects:   describe("objects", "Objects in the index, by kind.", "kind"),
		synced:    describe("synced", "Whether the first complete picture has arrived: 0 or 1."),
		lastEvent: describe("last_event_timestamp_seconds", "When a watch last heard of the API: an event or a bookmark.", "kind"),
		failures:  describe("watch_failures_total", "Lists and watches that ended with an error.", "kind"),
	}
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.objects, c.synced, c.lastEvent, c.failures} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	for name, f := range newestFeeds() {
		synced := 0.0
		if f.store.Synced() {
			synced = 1
		}
		ch <- prometheus.MustNewConstMetric(c.synced, prometheus.GaugeValue, synced, name)
		for _, kind := range f.config.kinds() {
			ch <- prometheus.MustNewConstMetric(c.objects, prometheus.GaugeValue, float64(f.store.Count(kind)), name, kind.String())
		}
		for _, st := range f.source.Status() {
			kind := st.Kind.String()
			ch <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(st.Failures), name, kind)
			if !st.LastEvent.IsZero() {
				ch <- prometheus.MustNewConstMetric(c.lastEvent, prometheus.GaugeValue, float64(st.LastEvent.UnixNano())/1e9, name, kind)
			}
		}
	}
}

var _ prometheus.Collector = collector{}

// snapshotCollector reads the age of the data of all feeds, and the state of their
// snapshots.
type snapshotCollector struct {
	data, stale                           *prometheus.Desc
	load, writes, failures, written, size *prometheus.Desc
}

func newSnapshotCollector() snapshotCollector {
	return snapshotCollector{
		data:     describe("data_timestamp_seconds", "When the API last confirmed what is in the index; of a restored index, when it last did before the restart."),
		stale:    describe("stale", "Whether answers come from a restored index, before the first sync: 0 or 1."),
		load:     describe("snapshot_load", "What became of the snapshot at the start: 1 for the result it had.", "dir", "result"),
		writes:   describe("snapshot_writes_total", "Snapshots written.", "dir"),
		failures: describe("snapshot_failures_total", "Attempts to write a snapshot that ended with an error.", "dir"),
		written:  describe("snapshot_timestamp_seconds", "When the last snapshot was written.", "dir"),
		size:     describe("snapshot_size_bytes", "Size of the snapshot last written or taken.", "dir"),
	}
}

// Describe implements prometheus.Collector.
func (c snapshotCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.data, c.stale, c.load, c.writes, c.failures, c.written, c.size} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c snapshotCollector) Collect(ch chan<- prometheus.Metric) {
	for name, f := range newestFeeds() {
		stale := 0.0
		if f.store.Restored() && !f.store.Synced() {
			stale = 1
		}
		gauge(ch, c.stale, stale, name)
		gaugeTime(ch, c.data, f.heard(), name)
		for dir, st := range f.snapshots() {
			if st.Load != "" { // empty if the feed was running already
				gauge(ch, c.load, 1, name, dir, string(st.Load))
			}
			ch <- prometheus.MustNewConstMetric(c.writes, prometheus.CounterValue, float64(st.Writes), name, dir)
			ch <- prometheus.MustNewConstMetric(c.failures, prometheus.CounterValue, float64(st.Failures), name, dir)
			gauge(ch, c.size, float64(st.Size), name, dir)
			gaugeTime(ch, c.written, st.Written, name, dir)
		}
	}
}

var _ prometheus.Collector = snapshotCollector{}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

// gaugeTime sends a time, unless it is unknown.
func gaugeTime(ch chan<- prometheus.Metric, d *prometheus.Desc, at time.Time, labels ...string) {
	if !at.IsZero() {
		gauge(ch, d, float64(at.UnixNano())/1e9, labels...)
	}
}

// The DNS programming latency (an SLI of SIG Scalability) is the time from a change to the
// first answer with it. Changes of endpoints use the histogram of the plugin kubernetes, so
// that its dashboards keep working; a second one of that name cannot be registered. Changes
// of Services have their own: the API records them in whole seconds, which would distort
// the first.
var (
	endpointsProgrammed = object.DNSProgrammingLatency

	servicesProgrammed = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: pluginName, Name: "service_programming_duration_seconds",
		Buckets:                     prometheus.ExponentialBuckets(1, 2, 11), // to 17 minutes
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
		Help:                        "Time from the creation or change of a Service to its being answered; the API notes whole seconds, so up to one too much.",
	}, []string{"service_kind"})
)

// observeProgrammed records the latency of one change. It records 0 if this machine's clock
// is behind that of the API server.
func observeProgrammed(kind cluster.Kind, svc *cluster.Service, selector, exact bool, ago time.Duration) {
	label := programmedKind(svc, selector)
	seconds := max(0, ago).Seconds()
	switch {
	case kind == cluster.KindService:
		servicesProgrammed.WithLabelValues(label).Observe(seconds)
	case exact || label == headlessByHand: // it has no exact times that these would distort
		endpointsProgrammed.WithLabelValues(label).Observe(seconds)
	}
}

// headlessByHand is the label of a headless Service whose EndpointSlices are written by a
// user or by a custom controller.
const headlessByHand = "headless_without_selector"

// programmedKind returns the kind of a Service as the plugin kubernetes names it;
// external_name is new.
func programmedKind(svc *cluster.Service, selector bool) string {
	switch {
	case svc.Type == cluster.ExternalName:
		return "external_name"
	case !svc.Headless:
		return "cluster_ip"
	case selector:
		return "headless_with_selector"
	}
	return headlessByHand
}
