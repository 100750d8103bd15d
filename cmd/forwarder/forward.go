package main

import (
	"context"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"

	"github.com/signpost-dns/signpost/internal/agent"
	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane/nftables"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/node"
)

// forward routes until ctx is done. The rules stay.
func forward(ctx context.Context, c *config.Config, env environment) error {
	log := newLog(c, env.stderr)
	name, err := node.Name(c.HostnameOverride)
	if err != nil {
		return err
	}
	release, err := node.Claim()
	if err != nil {
		return err
	}
	defer release()
	if err := nftables.Probe(); err != nil {
		return err
	}
	log.Info("forwarder starts", "version", version(), "node", name, "mode", string(c.Wire.Mode), "pid", os.Getpid())
	for _, note := range c.Notes {
		log.Warn("configuration", "note", note)
	}
	prepareQuietly(c, log)
	facts := node.ReadFacts()
	warn(c, facts, log)

	plane, err := nftables.Open(nftables.Options{Log: log})
	if err != nil {
		return err
	}
	defer closing(log, "the dataplane", plane.Close)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := agent.NewMetrics(registry, families(facts)...)
	cleaner, err := conntrack.New(cleaned(metrics, log))
	if err != nil {
		return err
	}
	defer cleaner.Close()
	machine, err := node.NewMachine()
	if err != nil {
		return err
	}
	store := cluster.NewStore()
	objects, err := newFeed(c, name, store, log)
	if err != nil {
		return err
	}
	registry.MustRegister(freshness{objects})
	health := healthcheck.NewHealth(2*c.SyncPeriod, families(facts)...)
	a := agent.New(agent.Options{
		Store: store, Dataplane: plane, Machine: machine, Flows: cleaner, Health: health, Metrics: metrics, Log: log,
		NodeName: name, NodeAddr: c.BindAddress, NodePorts: node.NodePorts(c.NodePorts),
		PodCIDRs: c.ClusterCIDRs, MasqueradeAll: c.MasqueradeAll, MasqueradeMark: c.MasqueradeMark,
	})

	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { objects.Run(ctx); return nil })
	all.Go(func() error { machine.Run(ctx, warning(log)); return nil })
	all.Go(func() error { cleaner.Run(ctx); return nil })
	all.Go(func() error { return a.Run(ctx) })
	all.Go(func() error { return watchConfig(ctx, c.Flags.ConfigFile) })
	for _, s := range servers(c, a, store, health, metrics, registry, name) {
		s.Logf = warning(log)
		all.Go(func() error { return s.Run(ctx) })
	}
	err = all.Wait()
	log.Info("forwarder ends; the rules stay")
	return err
}

// families are those that this node can route.
func families(f node.Facts) []healthcheck.Family {
	if f.IPv6 {
		return []healthcheck.Family{healthcheck.IPv4, healthcheck.IPv6}
	}
	return []healthcheck.Family{healthcheck.IPv4}
}
