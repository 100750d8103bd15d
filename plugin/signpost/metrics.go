package signpost

import (
	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// problems counts the log lines about parts of objects that were left out.
var problems = promauto.NewCounterVec(prometheus.CounterOpts{
	Namespace: plugin.Namespace, Subsystem: pluginName, Name: "problems_total",
	Help: "Parts of objects that were left out because they are broken, by kind.",
}, []string{"kind"})

// collector reads the state of all feeds when Prometheus asks: nothing is counted
// on the query path.
type collector struct {
	objects, synced, lastEvent, failures *prometheus.Desc
}

// describe describes a metric about one feed: its first label is the source.
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
