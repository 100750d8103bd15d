package agent

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Metrics are the Prometheus metrics of the agent. Those named kubeproxy_ have the meaning
// that they have in kube-proxy. Kube-proxy writes each IP family apart; the agent writes both
// together, so both families show the same times.
type Metrics struct {
	families []healthcheck.Family
	changes  atomic.Pointer[cluster.Subscription]
	// Listeners returns the number of sockets that listen for NodePorts, and of failed attempts to listen; nil: the
	// process does not listen. It must be set before the first scrape.
	Listeners func() (listeners, failures int)

	// Metrics of kube-proxy.
	rulesDuration, fullDuration, partialDuration *prometheus.HistogramVec
	lastQueued, lastWritten                      *prometheus.GaugeVec
	failures, partialFailures                    *prometheus.CounterVec
	healthz, livez                               *prometheus.CounterVec
	programming, cleanDuration                   *prometheus.HistogramVec
	noLocal                                      *prometheus.GaugeVec
	cleaned                                      *prometheus.CounterVec

	// Metrics of Signpost.
	written        *prometheus.HistogramVec
	frontends      *prometheus.GaugeVec
	backends       prometheus.Gauge
	limits         *prometheus.GaugeVec
	contested      prometheus.Gauge
	refused        prometheus.Gauge
	routesFailing  prometheus.Gauge
	leftOut        *prometheus.GaugeVec
	notEnforced    prometheus.Gauge
	repairs        prometheus.Counter
	cleanFailures  prometheus.Counter
	serviceChanges prometheus.Counter
}

// NewMetrics registers the metrics of a node for its IP families, under the names of its mode.
func NewMetrics(to prometheus.Registerer, names dataplane.Metrics, families ...healthcheck.Family) *Metrics {
	m := &Metrics{
		families:        families,
		rulesDuration:   histogram("kubeproxy_sync_proxy_rules_duration_seconds", "Duration of writes of rules, full and partial.", 0.001, 15, "ip_family"),
		fullDuration:    histogram("kubeproxy_sync_full_proxy_rules_duration_seconds", "Duration of writes of all rules.", 0.001, 15, "ip_family"),
		partialDuration: histogram("kubeproxy_sync_partial_proxy_rules_duration_seconds", "Duration of writes of changed rules.", 0.001, 15, "ip_family"),
		lastQueued:      gauges("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "Time of the last change that has to be written.", "ip_family"),
		lastWritten:     gauges("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "Time of the last successful write of rules.", "ip_family"),
		failures:        counters(names.Failures, "Failed writes of rules.", "ip_family"),
		partialFailures: counters(names.PartialFailures, "Failed writes of changed rules; a write of all rules follows each.", "ip_family"),
		programming: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubeproxy_network_programming_duration_seconds", Help: "Time from the change of a pod or Service to the rules that route to its endpoints.",
			Buckets: programmingBuckets(),
		}, []string{"ip_family"}),
		noLocal:       gauges("kubeproxy_sync_proxy_rules_no_local_endpoints_total", "Service ports with traffic policy Local that have endpoints, but none on this node.", "traffic_policy", "ip_family"),
		healthz:       counters("kubeproxy_proxy_healthz_total", "Responses of /healthz, by HTTP status.", "code"),
		livez:         counters("kubeproxy_proxy_livez_total", "Responses of /livez, by HTTP status.", "code"),
		cleanDuration: histogram("kubeproxy_conntrack_reconciler_sync_duration_seconds", "Duration of searches for stale flows.", 0.001, 15, "ip_family"),
		cleaned:       counters("kubeproxy_conntrack_reconciler_deleted_entries_total", "Removed stale flows.", "ip_family"),

		written:        histogram("signpost_write_duration_seconds", "Duration of writes to the kernel, by scope: all rules or changes.", 0.00005, 20, "what"),
		frontends:      gauges("signpost_frontends", "Frontends that this node routes, by the origin of their address.", "kind"),
		backends:       gauge("signpost_backends", "Backends of all frontends. A backend of two frontends counts twice."),
		limits:         gauges("signpost_mode_limits", "Frontends that this mode supports only in part, by limit.", "limit"),
		contested:      gauge("signpost_conflicts", "Frontends that a Service claims and another Service owns."),
		refused:        gauge("signpost_refused_frontends", "External addresses and ports that Services claim and this node refuses."),
		routesFailing:  gauge("signpost_route_errors", "Frontends that could not be programmed."),
		leftOut:        gauges("signpost_left_out", "Frontends and backends that no node routes because their Service or namespace has too many.", "what"),
		notEnforced:    gauge("signpost_service_cidrs_not_enforced", "ServiceCIDRs that overlap addresses in use. Packets to their unused addresses are not dropped."),
		repairs:        counter("signpost_repairs_total", "Rewrites of the rules after another program changed them."),
		cleanFailures:  counter("signpost_conntrack_failures_total", "Failed searches for stale flows; each is retried."),
		serviceChanges: counter("signpost_service_changes_total", "Services rebuilt because they or their endpoints changed."),
	}
	to.MustRegister(m.rulesDuration, m.fullDuration, m.partialDuration, m.lastQueued, m.lastWritten, m.failures, m.programming, m.noLocal,
		m.healthz, m.livez, m.cleanDuration, m.cleaned, m.written, m.frontends, m.backends, m.limits, m.contested, m.refused,
		m.routesFailing, m.leftOut, m.notEnforced, m.repairs, m.cleanFailures, m.serviceChanges)
	m.registerChanges(to)
	if names.Listeners != "" {
		m.registerListeners(to, names)
	}
	if names.PartialFailures != "" {
		to.MustRegister(m.partialFailures)
	}
	for k := range vip.Kinds {
		m.frontends.WithLabelValues(k.String()) // exported from the start, so that a query sees 0 instead of no data
	}
	for _, f := range families {
		m.failures.WithLabelValues(string(f))
		m.partialFailures.WithLabelValues(string(f))
		m.cleaned.WithLabelValues(string(f))
	}
	return m
}

// registerChanges registers the change counts of the subscription that follow sets.
func (m *Metrics) registerChanges(to prometheus.Registerer) {
	for kind, pick := range map[string]func(*cluster.Subscription) cluster.Progress{
		"service":  func(s *cluster.Subscription) cluster.Progress { services, _ := s.Progress(); return services },
		"endpoint": func(s *cluster.Subscription) cluster.Progress { _, slices := s.Progress(); return slices },
	} {
		progress := func() (p cluster.Progress) {
			if s := m.changes.Load(); s != nil {
				p = pick(s)
			}
			return p
		}
		object := map[string]string{"service": "Services", "endpoint": "EndpointSlices"}[kind]
		to.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "kubeproxy_sync_proxy_rules_" + kind + "_changes_total", Help: "Changes of " + object + " since the start.",
		}, func() float64 { return float64(progress().Seen) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kubeproxy_sync_proxy_rules_" + kind + "_changes_pending", Help: "Changes of " + object + " that are not in the kernel yet.",
		}, func() float64 { return float64(progress().Open) }))
	}
}

// registerListeners registers the counts that Listeners returns.
func (m *Metrics) registerListeners(to prometheus.Registerer, names dataplane.Metrics) {
	count := func(pick func(listeners, failures int) int) func() float64 {
		return func() float64 {
			if m.Listeners == nil {
				return 0
			}
			return float64(pick(m.Listeners()))
		}
	}
	to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: names.Listeners, Help: "Sockets that listen for NodePorts on loopback addresses.",
	}, count(func(listeners, _ int) int { return listeners })), prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: names.ListenerFailures, Help: "Failed attempts to listen for a NodePort on a loopback address.",
	}, count(func(_, failures int) int { return failures })))
}

// follow sets the subscription whose changes are counted.
func (m *Metrics) follow(s *cluster.Subscription) { m.changes.Store(s) }

func histogram(name, help string, least float64, buckets int, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(least, 2, buckets),
	}, labels)
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func gauge(name, help string) prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// Answered counts a response of healthcheck.Probes, on the pages that kube-proxy counts.
func (m *Metrics) Answered(page string, code int) {
	switch page {
	case "healthz":
		m.healthz.WithLabelValues(strconv.Itoa(code)).Inc()
	case "livez":
		m.livez.WithLabelValues(strconv.Itoa(code)).Inc()
	}
}

// Cleaned records a run of conntrack.Cleaner.
func (m *Metrics) Cleaned(r conntrack.Result) {
	family := string(healthcheck.IPv4)
	if r.IPv6 {
		family = string(healthcheck.IPv6)
	}
	m.cleanDuration.WithLabelValues(family).Observe(r.Took.Seconds())
	m.cleaned.WithLabelValues(family).Add(float64(r.Removed))
	if r.Err != nil {
		m.cleanFailures.Inc()
	}
}

func (m *Metrics) queued() {
	for _, f := range m.families {
		m.lastQueued.WithLabelValues(string(f)).SetToCurrentTime()
	}
}

// wrote records a write of everything or of changes.
func (m *Metrics) wrote(what string, took time.Duration, err error) {
	detail := m.partialDuration
	if what == everything {
		detail = m.fullDuration
	}
	m.written.WithLabelValues(what).Observe(took.Seconds())
	for _, f := range m.families {
		m.rulesDuration.WithLabelValues(string(f)).Observe(took.Seconds())
		detail.WithLabelValues(string(f)).Observe(took.Seconds())
		if err != nil {
			m.failures.WithLabelValues(string(f)).Inc()
			if what == changed {
				m.partialFailures.WithLabelValues(string(f)).Inc()
			}
		}
	}
}

// inPlace records a successful write and the number of rejected routes.
func (m *Metrics) inPlace(failing int) {
	m.routesFailing.Set(float64(failing))
	for _, f := range m.families {
		m.lastWritten.WithLabelValues(string(f)).SetToCurrentTime()
	}
}

func (m *Metrics) repaired() { m.repairs.Inc() }

// table records the counts of the table after some Services were built.
func (m *Metrics) table(c *counts, l *limits, contested int) {
	for i, limit := range l.list {
		m.limits.WithLabelValues(limit.Name).Set(float64(l.concerned[i]))
	}
	for k, n := range c.frontends {
		m.frontends.WithLabelValues(vip.Kind(k).String()).Set(float64(n))
	}
	m.backends.Set(float64(c.backends))
	for _, f := range m.families {
		for policy, n := range c.noLocal[f] {
			m.noLocal.WithLabelValues(policy, string(f)).Set(float64(len(n)))
		}
	}
	m.contested.Set(float64(contested))
}
