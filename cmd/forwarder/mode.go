package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/kube-proxy/config/v1alpha1"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/dataplane/iptables"
	"github.com/signpost-dns/signpost/internal/dataplane/ipvs"
	"github.com/signpost-dns/signpost/internal/dataplane/nftables"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/traffic"
)

// modes returns the modes in the order in which auto tries those that it may choose. registry gets the metrics of a
// dataplane that is opened; it may be nil.
func modes(c *config.Config, log *slog.Logger, registry prometheus.Registerer) []dataplane.Mode {
	return []dataplane.Mode{
		nftables.Mode(nftables.Options{Log: log}),
		iptables.Mode(iptables.Options{Log: log, SyncPeriod: c.SyncPeriod, Registry: registry}),
		ipvs.Mode(ipvsOptions(c, log)),
	}
}

// ipvsOptions returns what the configuration says about mode ipvs.
func ipvsOptions(c *config.Config, log *slog.Logger) ipvs.Options {
	w := c.Wire.IPVS
	return ipvs.Options{
		Log: log, Scheduler: w.Scheduler, Exclude: c.ExcludeCIDRs, StrictARP: w.StrictARP,
		TCPTimeout: w.TCPTimeout.Duration, TCPFinTimeout: w.TCPFinTimeout.Duration, UDPTimeout: w.UDPTimeout.Duration,
	}
}

// choose returns the mode that the user named, or else the first that this node can do.
func choose(from []dataplane.Mode, c *config.Config, log *slog.Logger) (dataplane.Mode, error) {
	var errs []error
	for _, m := range from {
		if string(c.Wire.Mode) != m.Name && (c.Wire.Mode != config.ModeAuto || !m.Auto) {
			continue
		}
		err := m.Probe()
		if err == nil {
			for _, e := range errs {
				log.Warn("this node cannot do a mode", "instead", m.Name, "error", e)
			}
			c.Choose(v1alpha1.ProxyMode(m.Name))
			return m, nil
		}
		errs = append(errs, fmt.Errorf("mode %s: %w", m.Name, err))
	}
	return dataplane.Mode{}, errors.Join(errs...)
}

// planned returns the mode that plan shows. Only the node decides what auto is.
func planned(c *config.Config, log *slog.Logger) dataplane.Mode {
	all := modes(c, log, nil)
	for _, m := range all {
		if m.Name == string(c.Wire.Mode) {
			return m
		}
	}
	return all[0]
}

// removeOthers removes what is not of the mode that routes: our rules of the other modes, counters that the user did
// not ask for and, if none runs, all of a kube-proxy. own is the dataplane of that mode; nil: no mode routes.
func removeOthers(ctx context.Context, c *config.Config, routes v1alpha1.ProxyMode, own dataplane.Dataplane, peerRuns bool, log *slog.Logger) error {
	var errs []error
	if routes == "" || len(c.Flags.CountTraffic) == 0 {
		errs = append(errs, traffic.Remove(node.ReadFacts().IPv6))
	}
	if routes == "" {
		errs = append(errs, node.Forget())
	}
	for _, m := range modes(c, log, nil) {
		cleaning := dataplane.Cleaning{PeerRuns: peerRuns}
		if m.Name == string(routes) {
			cleaning.Keep = own
		}
		removed, err := m.Cleanup(ctx, cleaning)
		if len(removed) > 0 {
			log.Info("removed rules of another mode or proxy", "rules", strings.Join(removed, ", "))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
