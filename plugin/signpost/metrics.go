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

// Metrics of a feed. Their first label is the source.
var (
	objectsDesc   = describe("objects", "Objects in the index, by kind.", "kind")
	syncedDesc    = describe("synced", "Whether the first complete picture has arrived: 0 or 1.")
	lastEventDesc = describe("last_event_timestamp_seconds", "When a watch last heard of the API: an event or a bookmark.", "kind")
	failuresDesc  = describe("watch_failures_total", "Lists and watches that ended with an error.", "kind")
	dataDesc      = describe("data_timestamp_seconds", "When the API last confirmed what is in the index; of a restored index, when it last did before the restart.")
	staleDesc     = describe("stale", "Whether answers come from a restored index, before the first sync: 0 or 1.")

	snapshotLoadDesc     = describe("snapshot_load", "What became of the snapshot at the start: 1 for the result it had.", "dir", "result")
	snapshotWritesDesc   = describe("snapshot_writes_total", "Snapshots written.", "dir")
	snapshotFailuresDesc = describe("snapshot_failures_total", "Attempts to write a snapshot that ended with an error.", "dir")
	snapshotWrittenDesc  = describe("snapshot_timestamp_seconds", "When the last snapshot was written.", "dir")
	snapshotSizeDesc     = describe("snapshot_size_bytes", "Size of the snapshot last written or taken.", "dir")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, pluginName, name), help,
		append([]string{"source"}, labels...), nil)
}

// collector reads the state of all feeds when Prometheus scrapes. Nothing is counted on
// the query path.
type collector struct{}

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		objectsDesc, syncedDesc, lastEventDesc, failuresDesc, dataDesc, staleDesc,
		snapshotLoadDesc, snapshotWritesDesc, snapshotFailuresDesc, snapshotWrittenDesc, snapshotSizeDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (collector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, t prometheus.ValueType, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, t, value, labels...)
	}
	sendTime := func(d *prometheus.Desc, at time.Time, labels ...string) {
		if !at.IsZero() {
			send(d, prometheus.GaugeValue, float64(at.UnixNano())/1e9, labels...)
		}
	}
	number := map[bool]float64{true: 1}
	for name, f := range newestFeeds() {
		synced := f.store.Synced()
		send(syncedDesc, prometheus.GaugeValue, number[synced], name)
		send(staleDesc, prometheus.GaugeValue, number[f.store.Restored() && !synced], name)
		sendTime(dataDesc, f.heard(), name)
		for _, kind := range f.config.kinds() {
			send(objectsDesc, prometheus.GaugeValue, float64(f.store.Count(kind)), name, kind.String())
		}
		for _, st := range f.source.Status() {
			send(failuresDesc, prometheus.CounterValue, float64(st.Failures), name, st.Kind.String())
			sendTime(lastEventDesc, st.LastEvent, name, st.Kind.String())
		}
		for dir, st := range f.snapshots() {
			if st.Load != "" { // empty if the feed was running already
				send(snapshotLoadDesc, prometheus.GaugeValue, 1, name, dir, string(st.Load))
			}
			send(snapshotWritesDesc, prometheus.CounterValue, float64(st.Writes), name, dir)
			send(snapshotFailuresDesc, prometheus.CounterValue, float64(st.Failures), name, dir)
			send(snapshotSizeDesc, prometheus.GaugeValue, float64(st.Size), name, dir)
			sendTime(snapshotWrittenDesc, st.Written, name, dir)
		}
	}
}

var _ prometheus.Collector = collector{}

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
