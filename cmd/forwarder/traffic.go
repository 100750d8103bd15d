package main

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/traffic"
)

// newTraffic returns the traffic counter for the configured Services, or nil if there are none.
func newTraffic(c *config.Config, facts node.Facts, registry *prometheus.Registry, log *slog.Logger) (*traffic.Counter, error) {
	var services []cluster.Key
	for _, s := range c.Flags.CountTraffic {
		services = append(services, cluster.Key{Namespace: s.Namespace, Name: s.Name})
	}
	if services == nil {
		return nil, nil
	}
	counter, err := traffic.New(services, facts.IPv6, log)
	if err == nil {
		registry.MustRegister(counter)
	}
	return counter, err
}
