package main

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/config"
)

// adoptLimit is how long looking for rules may take. It starts programs.
const adoptLimit = 10 * time.Second

// adopted returns the mode whose rules the kernel has from before the start, and whether there
// is one. Mode iptables comes last: its chains may be what another mode of kube-proxy left.
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

func last(m mode) int {
	if m.name == config.ModeIPTables {
		return 1
	}
	return 0
}
