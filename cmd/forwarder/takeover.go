package main

import (
	"context"
	"time"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// otherPoll is the time between looks whether a kube-proxy still runs.
const otherPoll = time.Second

// takeOver removes what a kube-proxy left, or a forwarder in another mode, once our own rules are in place: so there is no
// moment without any. As long as one runs its rules stay; it would write them again.
func (f *forwarder) takeOver(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-f.agent.InPlace():
	}
	told := false
	for healthcheck.Other(ctx, healthAddress(f.config)) {
		if !told {
			told = true
			f.log.Warn("another proxy runs on this node, kube-proxy by its answers: its rules stay beside ours until it ends",
				"answers at", healthAddress(f.config))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(otherPoll):
		}
	}
	if err := removeOthers(ctx, f.config, f.config.Wire.Mode, false, f.log); err != nil && ctx.Err() == nil {
		f.log.Warn("rules of another mode or proxy stay beside ours; forwarder --cleanup removes all", "error", err)
	}
}

// healthAddress is where a proxy with this configuration, ours or kube-proxy, serves
// /healthz.
func healthAddress(c *config.Config) string {
	if c.Wire.HealthzBindAddress == "" {
		return "127.0.0.1:10256"
	}
	return c.Wire.HealthzBindAddress
}
