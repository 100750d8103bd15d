package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/signpost-dns/signpost/internal/dataplane"
)

const (
	// wholePeriod is the time between two comparisons of all rules. It is kube-proxy's time between
	// two complete writes.
	wholePeriod = time.Hour
	// rest is how many times longer a look rests than it took.
	rest = 20
)

// looks are the looks of Tick, from the cheapest to the dearest, and what the last one saw.
type looks struct {
	period                  time.Duration // between two looks at the shared chains
	canaries, shared, whole look
	changed                 bool
}

// A look is when something was looked at last, and how long that took.
type look struct {
	at   time.Time
	took time.Duration
}

// due reports whether it is time to look again.
func (l look) due(now time.Time, period time.Duration) bool {
	return now.Sub(l.at) >= max(period, rest*l.took)
}

// written says that all rules were compared and written just now.
func (l *looks) written() {
	l.canaries.at = time.Time{}
	l.shared.at, l.whole.at = time.Now(), time.Now()
}

// Tick implements dataplane.Dataplane. Each call looks at a rule of ours in each table, which is
// gone after a flush. Every period it compares the jumps and the shared chains, and every hour all
// rules. A look starts programs, so looks are fewer where they take long.
func (d *Dataplane) Tick(ctx context.Context, now time.Time) (dataplane.State, error) {
	if d.doubt != nil {
		return dataplane.State{Changed: true}, nil
	}
	l := &d.looks
	var which *look
	var see func(*family, context.Context) (changed []chain, err error)
	switch {
	case l.whole.due(now, wholePeriod):
		which, see = &l.whole, (*family).compareAll
	case l.shared.due(now, l.period):
		which, see = &l.shared, (*family).compareShared
	case l.canaries.due(now, 0):
		which, see = &l.canaries, (*family).missingCanaries
	default:
		return dataplane.State{Changed: l.changed}, nil
	}
	defer func() { which.took = time.Since(now); which.at = now.Add(which.took) }()
	l.changed = false
	for _, f := range d.families {
		changed, err := see(f, ctx)
		if err != nil {
			return dataplane.State{Unseen: err}, nil
		}
		if len(changed) > 0 {
			d.log.Warn("another program changed our rules", "table", changed[0].table, "chain", changed[0].name, "chains", len(changed))
			l.changed = true
		}
	}
	return dataplane.State{Changed: l.changed}, nil
}

// missingCanaries returns the canaries that lack their rule.
func (f *family) missingCanaries(ctx context.Context) (missing []chain, err error) {
	for _, c := range []chain{natCanary, filterCanary} {
		rules, _, err := f.list(ctx, c)
		if err != nil {
			return nil, err
		}
		if len(rules) == 0 {
			missing = append(missing, c)
		}
	}
	return missing, nil
}

// compareShared returns the hooks that lack jumps and the shared chains that are not as they were written. The
// programs of nft read one chain quickly and all slowly. Those of legacy read all rules for one chain.
func (f *family) compareShared(ctx context.Context) ([]chain, error) {
	if f.Backend() == "legacy" {
		return f.compareAll(ctx)
	}
	want, there := f.rules.shared(), listing{}
	for _, c := range slices.Concat(slices.Collect(maps.Keys(want)), f.hooks()) {
		rules, exists, err := f.list(ctx, c)
		if err != nil {
			return nil, err
		}
		if exists {
			there[c] = rules
		}
	}
	return f.rules.repair(there, want).chains(), nil
}

// compareAll returns all chains that are not as they were written.
func (f *family) compareAll(ctx context.Context) ([]chain, error) {
	there, err := f.save(ctx)
	if err != nil {
		return nil, err
	}
	return f.rules.repair(there, f.rules.tables()).chains(), nil
}

// hooks are the chains of the kernel's hooks that have jumps of ours.
func (f *family) hooks() (list []chain) {
	for _, j := range f.rules.jumps() {
		if !slices.Contains(list, j.from) {
			list = append(list, j.from)
		}
	}
	return list
}

// isMissing is how iptables ends where a chain is not there. What it says about that depends on its version and on what else
// is there: 1.8.7 to 1.8.9 call the chain incompatible after a flush. A lock that is taken is 4.
const isMissing = 1

// list returns the rules of one chain.
func (f *family) list(ctx context.Context, c chain) (rules []string, exists bool, err error) {
	out, err := run(ctx, nil, f.Iptables, "-w", "1", "-t", c.table, "-S", c.name)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == isMissing {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for line := range bytes.Lines(out) {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(string(line)), fmt.Sprintf("-A %s ", c.name)); ok {
			rules = append(rules, rule)
		}
	}
	return rules, true, nil
}
