package signpost

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/snapshot"
)

// snapshotCollector reads how old the data of all feeds are, and how their
// snapshots do.
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
			if st.Load != "" { // else the feed was running already
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

// gaugeTime leaves a time out that is not known.
func gaugeTime(ch chan<- prometheus.Metric, d *prometheus.Desc, at time.Time, labels ...string) {
	if !at.IsZero() {
		gauge(ch, d, float64(at.UnixNano())/1e9, labels...)
	}
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
