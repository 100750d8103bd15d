package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"k8s.io/kube-proxy/config/v1alpha1"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// adoptLimit limits the search for existing rules, which starts programs.
const adoptLimit = 10 * time.Second

// adopted returns the mode whose rules the kernel has from before the start, and whether there
// is one. Mode iptables comes last: its chains may be what another mode of kube-proxy left.
func adopted(c *config.Config, log *slog.Logger) (dataplane.Mode, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), adoptLimit)
	defer cancel()
	order := modes(c, log, nil)
	slices.SortStableFunc(order, func(a, b dataplane.Mode) int { return last(a) - last(b) })
	for _, m := range order {
		there, err := m.InUse(ctx)
		if err != nil {
			log.Debug("looking for rules from before the start", "mode", m.Name, "err", err)
		}
		if there {
			return m, true
		}
	}
	return dataplane.Mode{}, false
}

func last(m dataplane.Mode) int {
	if m.Name == string(config.ModeIPTables) {
		return 1
	}
	return 0
}

// frontendsBefore lists what the rules from before the start translate, in any mode. It finds
// flows to frontends that were removed while no forwarder ran, or that another mode had.
func frontendsBefore(c *config.Config, log *slog.Logger) (all []vip.Frontend) {
	for _, m := range modes(c, log, nil) {
		list, err := m.Frontends()
		if err != nil {
			log.Warn("looking for frontends from before the start; flows to those that are gone stay", "mode", m.Name, "err", err)
		}
		all = append(all, list...)
	}
	return all
}

// fallBack returns the configuration for a process whose own configuration fails for the reason
// why: the one that was active when the rules in the kernel were written. Without rules from
// before the start, or without a configuration for them, the process cannot start.
func fallBack(args []string, stderr io.Writer, why error) (*config.Config, error) {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	if _, there := adopted(&config.Config{}, log); !there {
		return nil, why
	}
	text, err := node.Kept()
	if err == nil {
		var c *config.Config
		if c, err = config.LoadKept(args, text); err == nil && c.Flags.ConfigFile != "" {
			return c, nil
		}
	}
	log.Debug("looking for the configuration of the rules from before the start", "err", err)
	return nil, why
}

// fallBackIn settles the mode where the named one cannot work here: that of the rules from before the start.
func fallBackIn(c *config.Config, log *slog.Logger, why error) (dataplane.Mode, error) {
	m, there := adopted(c, log)
	if !there || m.Name == string(c.Wire.Mode) || c.Flags.ConfigFile == "" {
		return dataplane.Mode{}, why
	}
	if err := c.In(v1alpha1.ProxyMode(m.Name)); err != nil {
		return dataplane.Mode{}, errors.Join(why, err)
	}
	if err := m.Probe(); err != nil {
		return dataplane.Mode{}, errors.Join(why, fmt.Errorf("mode %s: %w", m.Name, err))
	}
	return m, nil
}

// keep stores the configuration in the kernel, for a start at which the file is not usable.
func (f *forwarder) keep(c *config.Config) {
	text, err := c.YAML()
	if err == nil {
		err = node.Keep(text)
	}
	if err != nil {
		f.log.Debug("keeping the configuration in the kernel", "err", err)
	}
}
