package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// otherPoll is the period of the check whether another proxy still runs.
const otherPoll = time.Second

// takeOver removes the rules of a kube-proxy, or of a forwarder in another mode, after our own rules are in place, so
// that the node always has rules. While another proxy runs, its rules stay; it would write them again.
func (f *forwarder) takeOver(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-f.agent.InPlace():
	}
	for _, m := range modes(f.config, f.log, nil) {
		if m.Handover == nil || m.Name == string(f.config.Wire.Mode) {
			continue
		}
		if err := m.Yield(); err != nil {
			f.log.Warn("rules of another mode still get new connections", "mode", m.Name, "err", err)
		}
	}
	f.waitForOthers(ctx)
	f.waitForDrain(ctx)
	f.waitForOthers(ctx)
	if ctx.Err() != nil {
		return
	}
	if err := removeOthers(ctx, f.config, f.config.Wire.Mode, f.plane, false, f.log); err != nil && ctx.Err() == nil {
		f.log.Warn("rules of another mode or proxy remain; forwarder --cleanup removes them", "err", err)
	}
}

// waitForOthers waits until no other proxy runs on this node.
func (f *forwarder) waitForOthers(ctx context.Context) {
	told := false
	for healthcheck.Other(ctx, healthAddress(f.config)) {
		if !told {
			told = true
			f.log.Warn("another proxy runs on this node (probably kube-proxy): its rules stay until it ends",
				"healthAddress", healthAddress(f.config))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(otherPoll):
		}
	}
}

// drainTimeout limits how long rules of another mode stay for existing connections. It is IPVS's timeout of
// idle connections.
const drainTimeout = 15 * time.Minute

// waitForDrain waits until no connection needs the rules of another mode. New connections use ours. It checks twice
// in a row, because one check could miss a connection that is being established.
func (f *forwarder) waitForDrain(ctx context.Context) {
	told := false
	begin := time.Now()
	for free := 0; free < 2 && time.Since(begin) < drainTimeout; {
		start := time.Now()
		there, leads := f.othersLead()
		if !there {
			return
		}
		if free++; leads {
			free = 0
		}
		if leads && !told {
			told = true
			f.log.Info("connections use rules of another mode; these stay until the connections end", "timeout", drainTimeout)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(otherPoll, 20*time.Since(start))): // limits the cost of slow checks
		}
	}
}

// For a kube-proxy that has just started: the timeout for its metrics, and the period of the log line
// while its first rules are missing. In a large cluster those take minutes.
const (
	metricsTimeout = 10 * time.Second
	logWaiting     = 10 * time.Second
)

// waitForPeer waits until a running kube-proxy has written rules, because the node routes
// nothing if ours are removed earlier.
func waitForPeer(ctx context.Context, c *config.Config, log *slog.Logger) error {
	at := c.Wire.MetricsBindAddress
	said := time.Now()
	for start := said; ; {
		wrote, err := healthcheck.Wrote(ctx, at)
		switch {
		case wrote:
			return nil
		case err != nil && time.Since(start) > metricsTimeout:
			log.Warn("could not read kube-proxy's metrics, removing our rules anyway", "metricsAddress", at, "err", err)
			return nil
		case time.Since(said) > logWaiting:
			said = time.Now()
			log.Info("waiting for kube-proxy's first rules; ours stay until then", "waited", time.Since(start).Round(time.Second).String())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for kube-proxy's first rules: %w", context.Cause(ctx))
		case <-time.After(otherPoll / 4):
		}
	}
}

// othersLead reports whether there are rules of other modes than the one that routes, and whether connections need
// them. Where this cannot be read it is not waited for.
func (f *forwarder) othersLead() (there, leads bool) {
	for _, m := range modes(f.config, f.log, nil) {
		if m.Handover == nil || m.Name == string(f.config.Wire.Mode) {
			continue
		}
		some, of, err := m.Connections()
		if err != nil {
			f.log.Warn("looking for connections of another mode", "mode", m.Name, "error", err)
		}
		there, leads = there || some, leads || of
	}
	return there, leads
}

// healthAddress returns the address of /healthz of a proxy with this configuration, ours or
// kube-proxy.
func healthAddress(c *config.Config) string {
	if c.Wire.HealthzBindAddress == "" {
		return "127.0.0.1:10256"
	}
	return c.Wire.HealthzBindAddress
}
