package main

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/agent"
	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/relay"
	"github.com/signpost-dns/signpost/internal/vip"
)

// servers returns the two servers, except those that the user disabled.
func servers(current *atomic.Pointer[config.Config], a *agent.Agent, store *cluster.Store, health *healthcheck.Health,
	metrics *agent.Metrics, registry *prometheus.Registry, name string) []healthcheck.Server {
	c := current.Load()
	probes := healthcheck.Probes{
		Health: health, Answered: metrics.Answered,
		Eligible: func() bool { return eligible(store, name, c.Flags.Manifests != "") },
	}
	pages := healthcheck.Pages{
		Mode: string(c.Wire.Mode), Table: a.Table, Config: func() any { return current.Load().Wire }, Profiling: c.Wire.EnableProfiling,
		Metrics: metricsPage(registry), Status: healthcheck.Status{Started: time.Now(), Version: version()}, Flags: c.CommandLine(),
	}
	var out []healthcheck.Server
	if addr := c.Wire.HealthzBindAddress; addr != "" {
		out = append(out, healthcheck.Server{Name: "health", Addr: addr, Handler: probes.Handler(), HardFail: c.Wire.BindAddressHardFail})
	}
	if addr := c.Wire.MetricsBindAddress; addr != "" {
		out = append(out, healthcheck.Server{Name: "metrics", Addr: addr, Handler: pages.Handler(), HardFail: c.Wire.BindAddressHardFail})
	}
	return out
}

// eligible reports whether this node should get new connections from outside. It is true until the
// objects are known, as in kube-proxy: the rules in the kernel route. A folder of manifests may have no Node objects.
func eligible(store *cluster.Store, name string, manifests bool) bool {
	if n := store.Node(name); n != nil {
		return !n.Leaving
	}
	return manifests || !store.Synced()
}

// warn logs limitations that follow from this machine or configuration.
func warn(c *config.Config, f node.Facts, log *slog.Logger) {
	log.Info("machine", "kernel", f.Kernel, "ipv6", f.IPv6, "forwarding4", f.Forwarding4, "forwarding6", f.Forwarding6)
	if !f.Forwarding4 {
		log.Warn("this node does not forward IPv4: pods will not reach Services; set net.ipv4.ip_forward = 1")
	}
	if f.IPv6 && !f.Forwarding6 {
		log.Warn("this node does not forward IPv6: pods will not reach IPv6 Services; set net.ipv6.conf.all.forwarding = 1 if there are any")
	}
	if p := c.LocalPods; len(p.CIDRs) == 0 && !p.NodeCIDR && p.Interface == "" && p.Prefix == "" {
		log.Warn("clusterCIDR is not set (detectLocalMode ClusterCIDR): traffic from local pods cannot be identified, and connections from outside to cluster IPs keep their source address")
	}
	if err := node.SetOOMScore(*c.Wire.OOMScoreAdj); err != nil {
		log.Debug("the kernel may kill this process when memory is short", "err", err)
	}
}

// cleaned records the results of removing stale flows.
func cleaned(m *agent.Metrics, log *slog.Logger) func(conntrack.Result) {
	told := ""
	return func(r conntrack.Result) {
		m.Cleaned(r)
		switch {
		case r.Err != nil && r.Err.Error() != told:
			told = r.Err.Error()
			log.Warn("removing stale flows failed; it will be retried", "err", r.Err)
		case r.Removed+r.Shortened > 0:
			log.Debug("removed stale flows", "flows", r.Removed, "shortened", r.Shortened, "took", r.Took.String())
		}
	}
}

// portTaken reports a healthCheckNodePort that cannot be bound, with the Event that
// kube-proxy writes. events may be nil.
func portTaken(name string, events agent.Events, log *slog.Logger) func(*vip.Route, error) {
	return func(r *vip.Route, err error) {
		if events != nil {
			events.Event(r.Owner.Service, "FailedToStartServiceHealthcheck", fmt.Sprintf("on node %s: healthCheckNodePort %d: %v", name, r.Port, err))
		}
		log.Error("healthCheckNodePort not served; it will be retried",
			"service", r.Owner.Service.String(), "healthCheckNodePort", r.Port, "err", err)
	}
}

// loopbackTaken reports a NodePort that cannot be served on a loopback address.
func loopbackTaken(log *slog.Logger) func(*vip.Route, error) {
	return func(r *vip.Route, err error) {
		log.Error("NodePort not served on a loopback address; it will be retried",
			"service", r.Owner.Service.String(), "nodePort", r.Port, "err", err)
	}
}

// loopbackCount counts the connections to NodePorts on loopback addresses.
func loopbackCount(registry *prometheus.Registry) func(relay.Result) {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signpost_localhost_connections_total", Help: "Connections to NodePorts on loopback addresses that the forwarder accepted, by outcome.",
	}, []string{"result"})
	registry.MustRegister(c)
	for _, r := range relay.Results {
		c.WithLabelValues(string(r))
	}
	return func(r relay.Result) { c.WithLabelValues(string(r)).Inc() }
}

func warning(log *slog.Logger) func(format string, args ...any) {
	return func(format string, args ...any) { log.Warn(fmt.Sprintf(format, args...)) }
}

// newProblems registers the counter of problems in objects.
func newProblems(registry *prometheus.Registry) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "signpost_object_problems_total", Help: "Unusable parts of objects, by the kind of the object. The log and Events name them.",
	}, []string{"kind"})
	registry.MustRegister(c)
	return c
}

// freshness exports the age of the data.
type freshness struct{ feed feed }

var (
	lastEvent = prometheus.NewDesc("signpost_watch_last_event_timestamp_seconds",
		"Time of the last contact with the source about objects of this kind; 0: never.", []string{"kind"}, nil)
	watchFailing = prometheus.NewDesc("signpost_watch_failing",
		"1 while the source does not respond. Known objects are kept.", []string{"kind"}, nil)
	watchFailures = prometheus.NewDesc("signpost_watch_failures_total",
		"Failed attempts to reach the source.", []string{"kind"}, nil)
)

// Describe implements prometheus.Collector.
func (freshness) Describe(to chan<- *prometheus.Desc) {
	to <- lastEvent
	to <- watchFailing
	to <- watchFailures
}

// Collect implements prometheus.Collector.
func (f freshness) Collect(to chan<- prometheus.Metric) {
	for _, s := range f.feed.Status() {
		kind, last, failing := s.Kind.String(), 0.0, 0.0
		if !s.LastEvent.IsZero() {
			last = float64(s.LastEvent.UnixMilli()) / float64(time.Second/time.Millisecond)
		}
		if s.Failing {
			failing = 1
		}
		to <- prometheus.MustNewConstMetric(lastEvent, prometheus.GaugeValue, last, kind)
		to <- prometheus.MustNewConstMetric(watchFailing, prometheus.GaugeValue, failing, kind)
		to <- prometheus.MustNewConstMetric(watchFailures, prometheus.CounterValue, float64(s.Failures), kind)
	}
}
