package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/signpost-dns/signpost/internal/agent"
	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/relay"
	"github.com/signpost-dns/signpost/internal/source/kube"
	"github.com/signpost-dns/signpost/internal/traffic"
	"github.com/signpost-dns/signpost/internal/vip"
)

// forward routes until ctx is done and leaves the rules in place. refused is why the user's configuration is not c; nil: it is.
func forward(ctx context.Context, c *config.Config, env environment, refused error) error {
	log := newLog(c, env.stderr)
	name, err := node.Name(c.HostnameOverride)
	if err != nil {
		return err
	}
	release, err := claim(log)
	if err != nil {
		return err
	}
	defer release()
	registry := prometheus.NewRegistry()
	m, err := choose(modes(c, log, registry), c, log)
	if err != nil {
		refused = errors.Join(refused, err)
		if m, err = fallBackIn(c, log, err); err != nil {
			return err
		}
	}
	log.Info("forwarder starts", "version", version(), "node", name, "mode", string(c.Wire.Mode), "pid", os.Getpid())
	warnOf(c.Notes, log)
	prepareQuietly(c, log)
	f, err := assemble(c, m, registry, name, log)
	if err != nil {
		return err
	}
	defer f.close()
	f.refused = refused
	err = f.run(ctx)
	log.Info("forwarder stopped; the rules stay")
	return err
}

// warnOf logs the settings without effect.
func warnOf(notes []string, log *slog.Logger) {
	for _, note := range notes {
		log.Warn("configuration", "note", note)
	}
}

// claim makes this process the only forwarder of the node, if possible.
func claim(log *slog.Logger) (release func(), err error) {
	release, foreign, err := node.Claim()
	if foreign != "" {
		log.Warn("another program holds the name that forwarders claim: a second forwarder would not be detected", "holder", foreign)
	}
	return release, err
}

// forwarder holds the parts that run together.
type forwarder struct {
	config  *config.Config                // at the start of the process
	current atomic.Pointer[config.Config] // now
	log     *slog.Logger
	objects feed
	machine *node.Machine
	plane   dataplane.Dataplane
	cleaner *conntrack.Cleaner
	agent   *agent.Agent
	ports   *healthcheck.Ports
	relay   *relay.Relay
	events  *kube.Recorder // nil without an API
	servers []healthcheck.Server
	traffic *traffic.Counter // nil: disabled

	refused  error  // why the file of --config is not used; only watchConfig accesses it once it runs
	told     string // what was reported of it
	refusals prometheus.Gauge
}

// assemble puts the parts together and starts none.
func assemble(c *config.Config, m dataplane.Mode, registry *prometheus.Registry, name string, log *slog.Logger) (f *forwarder, err error) {
	f = &forwarder{config: c, log: log}
	f.current.Store(c)
	defer func() {
		if err != nil {
			f.close()
			f = nil
		}
	}()
	facts := node.ReadFacts()
	warn(c, facts, log)
	registerInfo(registry, c)
	metrics := agent.NewMetrics(registry, m.Metrics, families(facts)...)
	health := healthcheck.NewHealth(2*c.SyncPeriod, families(facts)...)
	if _, there := adopted(c, log); there {
		health.Adopted()
	}
	store := cluster.NewStoreByName()
	o := options(c, m, name, store)
	if f.events, err = newRecorder(c, name, log); err != nil {
		return f, err
	}
	if f.events != nil {
		o.Events = f.events
	}
	if f.objects, err = newFeed(c, name, store, log, report(log, o.Events, newProblems(registry)), f.programmed); err != nil {
		return f, err
	}
	f.refusals = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "signpost_config_refused", Help: "1 while the configuration file is not usable and the previous configuration stays active.",
	})
	registry.MustRegister(freshness{f.objects}, tracked{}, f.refusals)
	if f.machine, err = node.NewMachine(); err != nil {
		return f, err
	}
	if f.plane, err = m.Open(); err != nil {
		return f, fmt.Errorf("mode %s: %w", m.Name, err)
	}
	if f.cleaner, err = conntrack.New(cleaned(metrics, log)); err != nil {
		return f, err
	}
	o.Before, o.Limits = frontendsBefore(c, log), m.Limits()
	o.Dataplane, o.Machine, o.Flows, o.Health, o.Metrics, o.Log = f.plane, f.machine, f.cleaner, health, metrics, log
	if f.traffic, err = newTraffic(c, facts, registry, log); err != nil {
		return f, err
	}
	if f.traffic != nil {
		o.Traffic = f.traffic
	}
	f.ports = healthcheck.NewPorts(health, portTaken(name, o.Events, log))
	f.relay = relay.New(loopbackTaken(log), loopbackCount(registry))
	metrics.Listeners = f.relay.Counts
	o.Ports, o.Relay = f.ports, f.relay
	f.agent = agent.New(o)
	f.servers = servers(&f.current, f.agent, store, health, metrics, registry, name)
	return f, nil
}

// programmed passes on when endpoints changed. The times of other changes are too imprecise.
func (f *forwarder) programmed(p kube.Programmed) {
	if p.Kind != cluster.KindSlice || !p.Exact {
		return
	}
	family := healthcheck.IPv4
	if p.IPv6 {
		family = healthcheck.IPv6
	}
	f.agent.Programmed(family, p.Service.Key, p.Since)
}

// options are what the configuration and the mode say to an agent.
func options(c *config.Config, m dataplane.Mode, name string, store *cluster.Store) agent.Options {
	p := c.LocalPods
	return agent.Options{
		Store: store, NodeName: name, NodeAddr: c.BindAddress, NodePorts: node.NodePorts(c.NodePorts),
		Pods:          agent.Detection{Pods: vip.Pods{CIDRs: p.CIDRs, Interface: p.Interface, Prefix: p.Prefix}, NodeCIDR: p.NodeCIDR},
		MasqueradeAll: c.MasqueradeAll, MasqueradeMark: c.MasqueradeMark, NoExternalIPs: !c.ExternalIPs, CutHalfOpen: c.Flags.CutHalfOpen,
		DropsUnused: m.DropsUnused, BindsExternal: m.BindsExternal,
		GuardedPorts: guardedPorts(c),
	}
}

// guardedPorts returns the ports of the node that no Service may claim.
func guardedPorts(c *config.Config) (out []vip.Port) {
	protocols := map[string]cluster.Protocol{"tcp": cluster.TCP, "udp": cluster.UDP, "sctp": cluster.SCTP}
	for _, p := range append(c.OwnPorts(), c.Flags.ProtectedPorts...) {
		out = append(out, vip.Port{Number: p.Number, Protocol: protocols[p.Protocol]})
	}
	return out
}

// run runs all parts until ctx is done or one of them fails.
func (f *forwarder) run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { f.objects.Run(ctx); return nil })
	all.Go(func() error { f.machine.Run(ctx, warning(f.log)); return nil })
	all.Go(func() error { f.cleaner.Run(ctx); return nil })
	all.Go(func() error { f.ports.Run(ctx); return nil })
	all.Go(func() error { f.relay.Run(ctx); return nil })
	all.Go(func() error { f.takeOver(ctx); return nil })
	all.Go(func() error { watchTracked(ctx, trackedLook, node.ReadTracked, f.log); return nil })
	if f.events != nil {
		all.Go(func() error { f.events.Run(ctx); return nil })
	}
	if f.traffic != nil {
		all.Go(func() error { f.traffic.Run(ctx); return nil })
	}
	all.Go(func() error { return f.agent.Run(ctx) })
	all.Go(func() error { return f.watchConfig(ctx) })
	for _, s := range f.servers {
		s.Logf = warning(f.log)
		all.Go(func() error { return s.Run(ctx) })
	}
	return all.Wait()
}

// close closes the kernel's sockets after all parts have stopped. The rules stay.
func (f *forwarder) close() {
	if f.cleaner != nil {
		f.cleaner.Close()
	}
	if f.traffic != nil {
		if err := f.traffic.Close(); err != nil {
			f.log.Warn("closing the traffic counters failed", "err", err)
		}
	}
	if f.plane != nil {
		if err := f.plane.Close(); err != nil {
			f.log.Warn("closing the dataplane failed", "err", err)
		}
	}
}

// families returns the IP families that this node can route.
func families(f node.Facts) []healthcheck.Family {
	if f.IPv6 {
		return []healthcheck.Family{healthcheck.IPv4, healthcheck.IPv6}
	}
	return []healthcheck.Family{healthcheck.IPv4}
}
