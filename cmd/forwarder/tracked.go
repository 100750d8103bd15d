package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/node"
)

// trackedLook is the period of the check of the conntrack table.
const trackedLook = 10 * time.Second

// watchTracked logs when the conntrack table is nearly full and when it has room again, until ctx is done. read is
// node.ReadTracked.
func watchTracked(ctx context.Context, look time.Duration, read func() (node.Tracked, error), log *slog.Logger) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	crowded := false
	for {
		if t, err := read(); err == nil { // an error means that the kernel tracks nothing yet
			before := crowded
			crowded = t.Crowded(before)
			switch {
			case crowded && !before:
				log.Warn("the conntrack table is nearly full; a full table drops the first packets of new connections, and "+
					"Services seem not to answer: raise conntrack.maxPerCore, or net.netfilter.nf_conntrack_max on the node",
					"connections", t.Connections, "limit", t.Limit)
			case before && !crowded:
				log.Info("the conntrack table has room again", "connections", t.Connections, "limit", t.Limit)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tracked exports the same as metrics. While the kernel tracks nothing, there are none.
type tracked struct{}

var (
	trackedEntries = prometheus.NewDesc("signpost_conntrack_entries", "Connections that the kernel tracks on this node.", nil, nil)
	trackedLimit   = prometheus.NewDesc("signpost_conntrack_entries_limit", "Maximum number of tracked connections. A full table drops packets of new connections.", nil, nil)
)

// Describe implements prometheus.Collector.
func (tracked) Describe(to chan<- *prometheus.Desc) {
	to <- trackedEntries
	to <- trackedLimit
}

// Collect implements prometheus.Collector.
func (tracked) Collect(to chan<- prometheus.Metric) {
	t, err := node.ReadTracked()
	if err != nil {
		return
	}
	to <- prometheus.MustNewConstMetric(trackedEntries, prometheus.GaugeValue, float64(t.Connections))
	to <- prometheus.MustNewConstMetric(trackedLimit, prometheus.GaugeValue, float64(t.Limit))
}
