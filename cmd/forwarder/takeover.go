package main

import (
	"context"
	"fmt"
	"log/slog"
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
	for _, m := range modes {
		if m.yield == nil || m.name == f.config.Wire.Mode {
			continue
		}
		if err := m.yield(); err != nil {
			f.log.Warn("rules of another mode still get new connections", "mode", string(m.name), "err", err)
		}
	}
	f.alone(ctx)
	f.outlast(ctx)
	f.alone(ctx)
	if ctx.Err() != nil {
		return
	}
	if err := removeOthers(ctx, f.config, f.config.Wire.Mode, f.plane, false, f.log); err != nil && ctx.Err() == nil {
		f.log.Warn("rules of another mode or proxy stay beside ours; forwarder --cleanup removes all", "error", err)
	}
}

// alone waits until no other proxy runs on this node.
func (f *forwarder) alone(ctx context.Context) {
	told := false
	for healthcheck.Other(ctx, healthAddress(f.config)) {
		if !told {
			told = true
			f.log.Warn("another proxy runs on this node, kube-proxy by its answers: its rules stay beside ours until it ends",
				"healthAddress", healthAddress(f.config))
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(otherPoll):
		}
	}
}

// outlasting is how long rules of another mode may stay because connections need them. It is as long as IPVS
// remembers a connection on which nothing is sent.
const outlasting = 15 * time.Minute

// outlast waits until no connection needs the rules of another mode any more. New ones meet ours. A single look could
// miss one that just comes about, so it takes two.
func (f *forwarder) outlast(ctx context.Context) {
	told := false
	begin := time.Now()
	for free := 0; free < 2 && time.Since(begin) < outlasting; {
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
			f.log.Info("connections of another mode go on; its rules stay beside ours until these end", "timeout", outlasting)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(otherPoll, 20*time.Since(start))): // a look may take its time
		}
	}
}

// Of a kube-proxy that has started just now: how long its metrics may be out of reach, and how
// often the log says that its rules are waited for. In a large cluster they take minutes.
const (
	metricsPatience = 10 * time.Second
	sayWaiting      = 10 * time.Second
)

// waitForPeer waits until a kube-proxy that runs has written rules, without which nothing routes
// once ours are gone.
func waitForPeer(ctx context.Context, c *config.Config, log *slog.Logger) error {
	at := c.Wire.MetricsBindAddress
	said := time.Now()
	for start := said; ; {
		wrote, err := healthcheck.Wrote(ctx, at)
		switch {
		case wrote:
			return nil
		case err != nil && time.Since(start) > metricsPatience:
			log.Warn("it is not known whether that kube-proxy has written its rules: ours go all the same", "metricsAddress", at, "error", err)
			return nil
		case time.Since(said) > sayWaiting:
			said = time.Now()
			log.Info("waiting for the first rules of that kube-proxy; ours stay until then", "waited", time.Since(start).Round(time.Second).String())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the first rules of kube-proxy: %w", context.Cause(ctx))
		case <-time.After(otherPoll / 4):
		}
	}
}

// othersLead is leads of all modes but the one that routes. What cannot be told is not waited for.
func (f *forwarder) othersLead() (there, leads bool) {
	for _, m := range modes {
		if m.leads == nil || m.name == f.config.Wire.Mode {
			continue
		}
		some, of, err := m.leads()
		if err != nil {
			f.log.Warn("looking for connections of another mode", "mode", string(m.name), "error", err)
		}
		there, leads = there || some, leads || of
	}
	return there, leads
}

// healthAddress is where a proxy with this configuration, ours or kube-proxy, serves
// /healthz.
func healthAddress(c *config.Config) string {
	if c.Wire.HealthzBindAddress == "" {
		return "127.0.0.1:10256"
	}
	return c.Wire.HealthzBindAddress
}
