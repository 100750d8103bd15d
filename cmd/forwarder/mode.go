package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/iptables"
	"github.com/signpost-dns/signpost/internal/dataplane/ipvs"
	"github.com/signpost-dns/signpost/internal/dataplane/nftables"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/traffic"
	"github.com/signpost-dns/signpost/internal/vip"
)

// mode is one way to route, with the functions of its dataplane package.
type mode struct {
	name  v1alpha1.ProxyMode
	probe func(*config.Config) error // why this node does not support it
	open  func(*config.Config, *slog.Logger) (dataplane.Dataplane, error)
	plan  func(*config.Config, dataplane.Host, *vip.Table) (string, error)
	// auto reports whether mode auto may choose it.
	auto bool
	// schedules reports whether a Service may choose its scheduler.
	schedules bool
	// dropsUnused and bindsExternal are set in vip.Host.
	dropsUnused, bindsExternal bool
	// inspect describes what the kernel has for a frontend, and whether that is as intended.
	inspect func(ctx context.Context, v *view, f vip.Frontend, r *vip.Route) ([]string, error)
	// clean removes our rules of this mode and describes them. It also removes kube-proxy's if they
	// look the same as ours, unless a kube-proxy runs.
	clean func(ctx context.Context, c *config.Config, peerRuns bool) (string, error)
	// there reports whether the kernel routes by rules of this mode.
	there func(context.Context) (bool, error)
	// frontends lists what the rules of this mode translate, ours or kube-proxy's. It changes nothing.
	frontends func(*config.Config) ([]vip.Frontend, error)
	// leads reports whether rules of this mode exist, and whether clean would end connections.
	// Nil: clean never does.
	leads func() (there, leads bool, err error)
	// yield passes new connections to the rules of another mode, which exist already. Nil:
	// they get them anyway.
	yield func() error
	// cleanPeer removes kube-proxy's rules of this mode if they differ from ours, which
	// belong to own; own is nil if another mode routes.
	cleanPeer func(ctx context.Context, own dataplane.Dataplane) (string, error)
}

// modes are in the order in which mode auto tries them.
var modes = []mode{
	{
		name: config.ModeNFTables, auto: true, dropsUnused: true,
		probe: func(*config.Config) error { return nftables.Probe() },
		plan: func(_ *config.Config, h dataplane.Host, t *vip.Table) (string, error) {
			return nftables.Render(h, t)
		},
		open: func(_ *config.Config, log *slog.Logger) (dataplane.Dataplane, error) {
			return nftables.Open(nftables.Options{Log: log})
		},
		inspect: func(_ context.Context, v *view, f vip.Frontend, r *vip.Route) ([]string, error) {
			return nftables.Inspect(v.host, f, r)
		},
		there:     func(context.Context) (bool, error) { return nftables.InUse() },
		frontends: func(*config.Config) ([]vip.Frontend, error) { return nftables.Frontends() },
		clean:     func(ctx context.Context, _ *config.Config, _ bool) (string, error) { return "", nftables.Cleanup(ctx) },
		cleanPeer: func(ctx context.Context, _ dataplane.Dataplane) (string, error) {
			removed, err := nftables.CleanupKubeProxy(ctx)
			return strings.Join(removed, ", "), err
		},
	},
	{
		name: config.ModeIPTables, auto: true,
		probe: func(*config.Config) error { return iptables.Probe() },
		plan: func(_ *config.Config, h dataplane.Host, t *vip.Table) (string, error) {
			return iptables.Render(h, t)
		},
		open: func(c *config.Config, log *slog.Logger) (dataplane.Dataplane, error) {
			return iptables.Open(iptables.Options{Log: log, SyncPeriod: c.SyncPeriod})
		},
		inspect: func(ctx context.Context, v *view, _ vip.Frontend, r *vip.Route) ([]string, error) {
			return iptables.Inspect(ctx, v.host, v.table, r)
		},
		there:     func(ctx context.Context) (bool, error) { return iptables.InUse(ctx), nil },
		frontends: func(*config.Config) ([]vip.Frontend, error) { return iptables.Frontends() },
		clean:     cleanIPTables,
		cleanPeer: func(ctx context.Context, own dataplane.Dataplane) (string, error) {
			d, routes := own.(*iptables.Dataplane)
			if !routes { // clean removed everything
				return "", nil
			}
			n, err := d.CleanupOther(ctx)
			return chains(n), err
		},
	},
	{
		name: config.ModeIPVS, schedules: true, dropsUnused: true, bindsExternal: true,
		probe: func(c *config.Config) error { return ipvs.Probe(ipvsOptions(c, nil)) },
		plan: func(c *config.Config, h dataplane.Host, t *vip.Table) (string, error) {
			return ipvs.Render(ipvsOptions(c, nil), h, t), nil
		},
		open: func(c *config.Config, log *slog.Logger) (dataplane.Dataplane, error) {
			return ipvs.Open(ipvsOptions(c, log))
		},
		inspect: func(_ context.Context, v *view, f vip.Frontend, _ *vip.Route) ([]string, error) {
			return ipvs.Inspect(ipvsOptions(v.config, nil), v.host, v.table, f)
		},
		there:     func(context.Context) (bool, error) { return ipvs.InUse() },
		frontends: func(c *config.Config) ([]vip.Frontend, error) { return ipvs.Frontends(ipvsOptions(c, nil)) },
		clean:     cleanIPVS,
		leads:     ipvsLeads,
		yield:     ipvs.Yield,
		cleanPeer: func(ctx context.Context, _ dataplane.Dataplane) (string, error) {
			removed, err := ipvs.CleanupKubeProxy(ctx)
			return strings.Join(removed, ", "), err
		},
	},
}

// ipvsOptions returns the options of mode ipvs from the configuration.
func ipvsOptions(c *config.Config, log *slog.Logger) ipvs.Options {
	w := c.Wire.IPVS
	return ipvs.Options{
		Log: log, Scheduler: w.Scheduler, Exclude: c.ExcludeCIDRs, StrictARP: w.StrictARP,
		TCPTimeout: w.TCPTimeout.Duration, TCPFinTimeout: w.TCPFinTimeout.Duration, UDPTimeout: w.UDPTimeout.Duration,
	}
}

// cleanIPVS removes the virtual servers and kube-ipvs0, unless a kube-proxy runs: they are its own
// then, and it would recreate them. The auxiliary table is always ours. Release lets flows of IPVS
// meet the rules of the other mode, if there are any.
func cleanIPVS(ctx context.Context, c *config.Config, peerRuns bool) (string, error) {
	if peerRuns {
		return "", ipvs.CleanupBeside(ctx)
	}
	there, err := ipvs.InUse()
	if !there {
		said, failed := ipvs.Cleanup(ctx, ipvsOptions(c, nil))
		return said, errors.Join(err, failed)
	}
	_, before := conntrack.Release()
	said, failed := ipvs.Cleanup(ctx, ipvsOptions(c, nil))
	_, after := conntrack.Release() // flows that a reply has recreated meanwhile
	return said, errors.Join(err, before, failed, after)
}

// ipvsLeads implements mode.leads for mode ipvs.
func ipvsLeads() (there, leads bool, err error) {
	if there, err = ipvs.InUse(); there {
		leads, err = conntrack.HasIPVSConnections()
	}
	return there, leads, err
}

func cleanIPTables(ctx context.Context, _ *config.Config, peerRuns bool) (string, error) {
	cleanup := iptables.Cleanup
	if peerRuns {
		cleanup = iptables.CleanupBeside
	}
	n, err := cleanup(ctx)
	return chains(n), err
}

// chains formats the number of removed iptables chains.
func chains(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d chains KUBE-*", n)
}

// choose returns the configured mode, or else the first that this node supports.
func choose(c *config.Config, log *slog.Logger) (mode, error) {
	var errs []error
	for _, m := range modes {
		if c.Wire.Mode != m.name && (c.Wire.Mode != config.ModeAuto || !m.auto) {
			continue
		}
		err := m.probe(c)
		if err == nil {
			for _, e := range errs {
				log.Warn("mode not supported on this node", "chosen", string(m.name), "err", e)
			}
			c.Choose(m.name)
			return m, nil
		}
		errs = append(errs, fmt.Errorf("mode %s: %w", m.name, err))
	}
	return mode{}, errors.Join(errs...)
}

// planned returns the mode that plan shows: auto is resolved on the node only.
func planned(c *config.Config) mode {
	for _, m := range modes {
		if m.name == c.Wire.Mode {
			return m
		}
	}
	return modes[0]
}

// removeOthers removes the rules of all modes except the one that routes, counters that are not
// configured and, if none runs, everything of a kube-proxy. own is the dataplane of that mode;
// nil: none routes.
func removeOthers(ctx context.Context, c *config.Config, routes v1alpha1.ProxyMode, own dataplane.Dataplane, peerRuns bool, log *slog.Logger) error {
	var errs []error
	note := func(what string, err error) {
		if what != "" {
			log.Info("removed rules of another mode or proxy", "rules", what)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	if routes == "" || len(c.Flags.CountTraffic) == 0 {
		note("", traffic.Remove(node.ReadFacts().IPv6))
	}
	if routes == "" {
		note("", node.Forget())
	}
	for _, m := range modes {
		if m.name != routes {
			note(m.clean(ctx, c, peerRuns))
		}
		if m.cleanPeer != nil && !peerRuns {
			note(m.cleanPeer(ctx, own))
		}
	}
	return errors.Join(errs...)
}
