package main

import (
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/restclient" // registers rest_client_… of client-go

	"github.com/signpost-dns/signpost/internal/config"
)

// metricsPage serves the forwarder's metrics, and those of the process and of client-go, which
// Kubernetes' libraries keep in a global registry.
func metricsPage(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{registry, legacyregistry.DefaultGatherer}, promhttp.HandlerOpts{})
}

// registerInfo registers metrics about the build and the mode.
func registerInfo(registry *prometheus.Registry, c *config.Config) {
	info := func(name, help string, labels prometheus.Labels) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
		g.Set(1)
		registry.MustRegister(g)
	}
	v, revision := build()
	info("signpost_build_info", "1; the labels describe the build.", prometheus.Labels{
		"version": v, "revision": revision, "goversion": runtime.Version(), "goos": runtime.GOOS, "goarch": runtime.GOARCH,
	})
	info("signpost_mode_info", "1; the label is the mode of this node.", prometheus.Labels{"mode": string(c.Wire.Mode)})
}

// build returns the version of the module and the commit, which is empty if the build lacks it.
func build() (version, revision string) {
	version = "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return version, revision
}
