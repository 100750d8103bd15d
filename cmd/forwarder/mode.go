package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"k8s.io/kube-proxy/config/v1alpha1"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/iptables"
	"github.com/signpost-dns/signpost/internal/dataplane/nftables"
	"github.com/signpost-dns/signpost/internal/vip"
)

// mode is one way to route.
type mode struct {
	name  v1alpha1.ProxyMode
	probe func() error // why this node cannot
	open  func(*slog.Logger) (dataplane.Dataplane, error)
	plan  func(dataplane.Host, *vip.Table) (string, error)
	// inspect tells what the kernel has for a frontend, and whether that is right.
	inspect func(ctx context.Context, v *view, f vip.Frontend, r *vip.Route) ([]string, error)
	// clean removes our rules of this mode, and says what that was. Where kube-proxy's
	// cannot be told from ours it removes these too, unless one runs.
	clean func(ctx context.Context, peerRuns bool) (string, error)
	// cleanPeer removes kube-proxy's rules of this mode, where they can be told from ours.
	cleanPeer func(context.Context) (string, error)
}

// modes are in the order in which auto tries them.
var modes = []mode{
	{
		name: config.ModeNFTables, probe: nftables.Probe, plan: nftables.Render,
		open: func(log *slog.Logger) (dataplane.Dataplane, error) {
			return nftables.Open(nftables.Options{Log: log})
		},
		inspect: func(_ context.Context, v *view, f vip.Frontend, r *vip.Route) ([]string, error) {
			return nftables.Inspect(v.host, f, r)
		},
		clean: func(ctx context.Context, _ bool) (string, error) { return "", nftables.Cleanup(ctx) },
		cleanPeer: func(ctx context.Context) (string, error) {
			removed, err := nftables.CleanupKubeProxy(ctx)
			return strings.Join(removed, ", "), err
		},
	},
	{
		name: config.ModeIPTables, probe: iptables.Probe, plan: iptables.Render,
		open: func(log *slog.Logger) (dataplane.Dataplane, error) {
			return iptables.Open(iptables.Options{Log: log})
		},
		inspect: func(ctx context.Context, v *view, _ vip.Frontend, r *vip.Route) ([]string, error) {
			return iptables.Inspect(ctx, v.host, v.table, r)
		},
		clean: cleanIPTables,
	},
}

func cleanIPTables(ctx context.Context, peerRuns bool) (string, error) {
	cleanup := iptables.Cleanup
	if peerRuns {
		cleanup = iptables.CleanupBeside
	}
	n, err := cleanup(ctx)
	if n == 0 {
		return "", err
	}
	return fmt.Sprintf("%d chains KUBE-*", n), err
}

// choose gives the mode that the user named, or else the first that this node can do.
func choose(c *config.Config, log *slog.Logger) (mode, error) {
	var errs []error
	for _, m := range modes {
		if c.Wire.Mode != m.name && c.Wire.Mode != config.ModeAuto {
			continue
		}
		err := m.probe()
		if err == nil {
			c.Choose(m.name)
			return m, nil
		}
		errs = append(errs, err)
		if c.Wire.Mode == config.ModeAuto {
			log.Warn("this node cannot do a mode", "mode", string(m.name), "error", err)
		}
	}
	return mode{}, fmt.Errorf("mode %s: %w", c.Wire.Mode, errors.Join(errs...))
}

// planned is the mode that plan shows: auto is settled on the node only.
func planned(c *config.Config) mode {
	for _, m := range modes {
		if m.name == c.Wire.Mode {
			return m
		}
	}
	return modes[0]
}

// removeOthers removes what is not of the mode that routes: our own rules of the other modes
// and, if none runs, all of a kube-proxy.
func removeOthers(ctx context.Context, routes v1alpha1.ProxyMode, peerRuns bool, log *slog.Logger) error {
	var errs []error
	note := func(what string, err error) {
		if what != "" {
			log.Info("removed rules of another mode or proxy", "rules", what)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, m := range modes {
		if m.name != routes {
			note(m.clean(ctx, peerRuns))
		}
		if m.cleanPeer != nil && !peerRuns {
			note(m.cleanPeer(ctx))
		}
	}
	return errors.Join(errs...)
}
