package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/node"
)

// trackedLook is between looks at how full the kernel's table of connections is.
const trackedLook = 10 * time.Second

// watchTracked says when the table is nearly full and when that is over, until ctx is done. read is
// node.ReadTracked.
func watchTracked(ctx context.Context, look time.Duration, read func() (node.Tracked, error), log *slog.Logger) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	crowded := false
	for {
		if t, err := read(); err == nil { // else the kernel tracks nothing yet
			before := crowded
			crowded = t.Crowded(before)
			switch {
			case crowded && !before:
				log.Warn("the kernel's table of connections is nearly full; when it is, first packets of new ones are dropped and "+
					"Services seem not to answer: raise conntrack.maxPerCore, or net.netfilter.nf_conntrack_max on the node",
					"connections", t.Connections, "limit", t.Limit)
			case before && !crowded:
				log.Info("the kernel's table of connections has room again", "connections", t.Connections, "limit", t.Limit)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tracked tells Prometheus the same. While the kernel tracks nothing there are no such metrics.
type tracked struct{}

var (
	trackedEntries = prometheus.NewDesc("signpost_conntrack_entries", "Connections that the kernel tracks on this node.", nil, nil)
	trackedLimit   = prometheus.NewDesc("signpost_conntrack_entries_limit", "How many it can track; at more it drops the packets of new ones.", nil, nil)
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
