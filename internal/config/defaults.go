package config

import (
	"net"
	"net/netip"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/kube-proxy/config/v1alpha1"
)

// kube-proxy's ports for load balancers and Prometheus.
const (
	healthzPort = 10256
	metricsPort = 10249
)

const defaultBindAddress = "0.0.0.0"

// setDefaults sets empty fields to the defaults of kube-proxy 1.37. The mode and the
// fields that depend on it stay empty: see complete.
func setDefaults(w *v1alpha1.KubeProxyConfiguration) {
	setDefault(&w.BindAddress, defaultBindAddress)
	health, metrics := "0.0.0.0", "127.0.0.1"
	if a, err := netip.ParseAddr(w.BindAddress); err == nil && a.Is6() {
		health, metrics = "::", "::1"
	}
	setDefault(&w.HealthzBindAddress, health)
	setDefault(&w.MetricsBindAddress, metrics)
	w.HealthzBindAddress = withPort(w.HealthzBindAddress, healthzPort)
	w.MetricsBindAddress = withPort(w.MetricsBindAddress, metricsPort)

	for _, period := range []*metav1.Duration{&w.IPTables.SyncPeriod, &w.IPVS.SyncPeriod, &w.NFTables.SyncPeriod} {
		setDefault(&period.Duration, syncPeriod)
	}
	setDefault(&w.IPTables.MinSyncPeriod.Duration, time.Second)
	setDefault(&w.NFTables.MinSyncPeriod.Duration, time.Second)
	setDefault(&w.ConfigSyncPeriod.Duration, 15*time.Minute)
	setPointer(&w.IPTables.LocalhostNodePorts, true)
	setPointer(&w.OOMScoreAdj, -999)
	setPointer(&w.Conntrack.MaxPerCore, 32*1024)
	setPointer(&w.Conntrack.Min, 128*1024)
	setPointer(&w.Conntrack.TCPEstablishedTimeout, metav1.Duration{Duration: 24 * time.Hour})
	// A client may keep a half-closed connection for a long time; without its entry the
	// last FIN would leave with the wrong address.
	setPointer(&w.Conntrack.TCPCloseWaitTimeout, metav1.Duration{Duration: time.Hour})

	setDefault(&w.ClientConnection.ContentType, "application/vnd.kubernetes.protobuf")
	setDefault(&w.ClientConnection.QPS, 5)
	setDefault(&w.ClientConnection.Burst, 10)
	logsapi.SetRecommendedLoggingConfiguration(&w.Logging)
}

// Defaults of kube-proxy that depend on the mode. setDefaults does not set the masquerade
// bit: if a ConfigMap leaves the pointers empty, they show which section the user filled
// in.
const (
	masqueradeBit = 14
	syncPeriod    = 30 * time.Second
)

func setDefault[T comparable](field *T, value T) {
	if *field == *new(T) {
		*field = value
	}
}

func setPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// withPort appends a port to an address without one.
func withPort(address string, port int) string {
	if a, err := netip.ParseAddr(address); err == nil {
		return net.JoinHostPort(a.String(), strconv.Itoa(port))
	}
	return address
}
