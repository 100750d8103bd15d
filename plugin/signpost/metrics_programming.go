package signpost

import (
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/kubernetes/object"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/signpost-dns/signpost/internal/cluster"
)

// The DNS programming latency (SIG Scalability's SLI of that name): from a change
// to the moment in which it is answered. Changes of endpoints are counted by the
// peer's own histogram, so that its name and its dashboards stay; it cannot be
// registered twice. Changes of Services, of which the API notes whole seconds only,
// would spoil its numbers.
var (
	endpointsProgrammed = object.DNSProgrammingLatency

	servicesProgrammed = promauto.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: plugin.Namespace, Subsystem: pluginName, Name: "service_programming_duration_seconds",
		Buckets:                     prometheus.ExponentialBuckets(1, 2, 11), // to 17 minutes
		NativeHistogramBucketFactor: plugin.NativeHistogramBucketFactor,
		Help:                        "Time from the creation or change of a Service to its being answered; the API notes whole seconds, so up to one too much.",
	}, []string{"service_kind"})
)

// observeProgrammed counts one change that was made some time ago. A machine whose
// clock is behind the API server's counts 0.
func observeProgrammed(kind cluster.Kind, svc *cluster.Service, selector, exact bool, ago time.Duration) {
	label := programmedKind(svc, selector)
	seconds := max(0, ago).Seconds()
	switch {
	case kind == cluster.KindService:
		servicesProgrammed.WithLabelValues(label).Observe(seconds)
	case exact || label == headlessByHand: // which has no numbers to spoil
		endpointsProgrammed.WithLabelValues(label).Observe(seconds)
	}
}

// headlessByHand is a headless Service whose EndpointSlices are written by hand or
// by a controller of its own.
const headlessByHand = "headless_without_selector"

// programmedKind names the kind of a Service as the peer does; external_name is new.
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
