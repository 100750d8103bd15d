package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// adoptLimit limits the search for existing rules, which starts programs.
const adoptLimit = 10 * time.Second

// adopted returns the mode whose rules were in the kernel before the start, and whether there
// is one. Mode iptables comes last: another mode of kube-proxy may have left its chains.
func adopted(log *slog.Logger) (mode, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), adoptLimit)
	defer cancel()
	order := slices.Clone(modes)
	slices.SortStableFunc(order, func(a, b mode) int { return last(a) - last(b) })
	for _, m := range order {
		there, err := m.there(ctx)
		if err != nil {
			log.Debug("looking for rules from before the start", "mode", string(m.name), "err", err)
		}
		if there {
			return m, true
		}
	}
	return mode{}, false
}

// frontendsBefore lists what the rules from before the start translate, in any mode. It finds
// flows to frontends that were removed while no forwarder ran, or that another mode had.
func frontendsBefore(c *config.Config, log *slog.Logger) (all []vip.Frontend) {
	for _, m := range modes {
		list, err := m.frontends(c)
		if err != nil {
			log.Warn("looking for frontends from before the start; flows to those that are gone stay", "mode", string(m.name), "err", err)
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
	if _, there := adopted(log); !there {
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

// fallBackIn returns the mode of the existing rules if the configured mode does not work on this node.
func fallBackIn(c *config.Config, log *slog.Logger, why error) (mode, error) {
	m, there := adopted(log)
	if !there || m.name == c.Wire.Mode || c.Flags.ConfigFile == "" {
		return mode{}, why
	}
	if err := c.In(m.name); err != nil {
		return mode{}, errors.Join(why, err)
	}
	if err := m.probe(c); err != nil {
		return mode{}, errors.Join(why, fmt.Errorf("mode %s: %w", m.name, err))
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

func last(m mode) int {
	if m.name == config.ModeIPTables {
		return 1
	}
	return 0
}
