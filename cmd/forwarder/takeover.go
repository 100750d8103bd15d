package main

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/dataplane/nftables"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// otherPoll is the time between looks whether a kube-proxy still runs.
const otherPoll = time.Second

// takeOver removes what a kube-proxy left, once our own rules are in place: so there is no
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
	if err := removeLeftovers(ctx, f.log); err != nil && ctx.Err() == nil {
		f.log.Warn("the rules that kube-proxy left stay beside ours; forwarder --cleanup removes both", "error", err)
	}
}

// removeLeftovers removes the rules of a kube-proxy that does not run any more.
func removeLeftovers(ctx context.Context, log *slog.Logger) error {
	removed, err := nftables.CleanupKubeProxy(ctx)
	if len(removed) > 0 {
		log.Info("removed the rules that kube-proxy left", "tables", strings.Join(removed, ", "))
	}
	return err
}

// healthAddress is where a proxy with this configuration, ours or kube-proxy, serves
// /healthz.
func healthAddress(c *config.Config) string {
	if c.Wire.HealthzBindAddress == "" {
		return "127.0.0.1:10256"
	}
	return c.Wire.HealthzBindAddress
}
