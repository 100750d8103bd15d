package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"github.com/signpost-dns/signpost/internal/agent"
	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/config"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// planTimeout limits the wait for the first complete list of an API.
const planTimeout = time.Minute

// view is the table of a node, built from the current objects.
type view struct {
	config *config.Config
	log    *slog.Logger
	mode   dataplane.Mode // by which it routes, as far as that is known
	store  *cluster.Store
	object *cluster.Node // nil: there is no Node object
	node   vip.Node
	host   dataplane.Host
	table  *vip.Table
}

// look builds a view of this node, or of another with --hostname-override.
func look(ctx context.Context, c *config.Config, env environment) (*view, error) {
	log := newLog(c, env.stderr)
	c = asItRuns(ctx, c, log)
	name, err := node.Name(c.HostnameOverride)
	if err != nil {
		return nil, err
	}
	warnOf(c.Notes, log)
	v := &view{config: c, log: log, mode: planned(c, log), store: cluster.NewStoreByName(), table: vip.NewTable()}
	objects, err := newFeed(c, name, v.store, log, report(log, nil, nil), nil)
	if err != nil {
		return nil, err
	}
	if err := fill(ctx, v.store, objects); err != nil {
		return nil, err
	}
	machine, err := node.NewMachine()
	if err != nil {
		return nil, err
	}
	v.object = v.store.Node(name)
	networks := machine.Networks()
	if v.object != nil && !meets(v.object.Addrs, machine.Addrs()) { // the plan is for a different machine
		networks = nil
	}
	v.node, v.host = agent.Surroundings(options(c, v.mode, name, v.store), addresses(v.object, machine), networks)
	v.host.Overlaps = agent.Overlaps(&v.host, v.store)
	budget := vip.NewBudget(vip.NodeRoom)
	for e := range v.store.Services() {
		budget.Set(e.Service.Key, e.Service.Created, vip.ClaimOf(e).Room)
	}
	for e := range v.store.Services() {
		v.table.Set(e.Service.Key, vip.BuildWithin(e, v.node, budget.Room(e.Service.Key)))
	}
	return v, nil
}

// plan prints the table of a node and its rules. It needs no rights and changes nothing.
func plan(ctx context.Context, c *config.Config, env environment) error {
	v, err := look(ctx, c, env)
	if err != nil {
		return err
	}
	rules, refused := v.mode.Render(v.host, v.table)
	text := v.table.String()
	for _, line := range slices.Concat(v.stranger(), v.relayed(), v.closed(netip.Addr{}), v.refused(netip.AddrPort{}), v.unscheduled()) {
		text += "# " + line
	}
	if _, err := fmt.Fprintf(env.stdout, "%s\n%s", text, rules); err != nil {
		return err
	}
	return refused
}

// asItRuns returns the configuration of the forwarder that runs on this node. If the command line says how to
// route, or no forwarder answers, it returns that of the command line.
func asItRuns(ctx context.Context, c *config.Config, log *slog.Logger) *config.Config {
	at := c.Wire.MetricsBindAddress
	if c.Given || at == "" {
		return c
	}
	running, err := healthcheck.Ask(ctx, at, node.Trust)
	if err != nil {
		log.Info("no running forwarder reports its configuration: using flags and defaults", "address", at, "err", err)
		return c
	}
	of, err := c.Of(running.Config, running.Flags)
	if err != nil {
		log.Warn("the configuration of the running forwarder is not usable: using flags and defaults", "address", at, "err", err)
		return c
	}
	log.Info("using the configuration of the running forwarder", "address", at, "mode", string(of.Wire.Mode))
	return of
}

// stranger returns a line about a node without Node object, unless manifests need none.
func (v *view) stranger() []string {
	if v.object != nil || v.config.HostnameOverride == "" && v.config.Flags.Manifests != "" {
		return nil
	}
	return []string{fmt.Sprintf("no Node object is named %q: its zone and pod networks are unknown, it has no endpoints, and addresses are those of this machine\n", v.node.Name)}
}

// relayed returns a line about the NodePorts that the process itself serves.
func (v *view) relayed() []string {
	if len(v.host.NodePortRelay) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the forwarder itself accepts TCP connections to NodePorts on %s\n", texts(v.host.NodePortRelay))}
}

// scheduled returns a line about a scheduler that the mode does not support.
func (v *view) scheduled(r *vip.Route) string {
	if r.Scheduler == "" || v.mode.Schedules {
		return ""
	}
	return fmt.Sprintf("the scheduler %s of %v (annotation signpost.dev/scheduler) has no effect in mode %s\n", r.Scheduler, r.Owner.Service, v.mode.Name)
}

// unscheduled returns the lines about schedulers, sorted, one per Service.
func (v *view) unscheduled() (lines []string) {
	for r := range v.table.All() {
		if line := v.scheduled(r); line != "" {
			lines = append(lines, line)
		}
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// addresses returns the addresses of a node by its object; without one, of this machine.
func addresses(object *cluster.Node, machine *node.Machine) []netip.Addr {
	if object != nil {
		return object.Addrs
	}
	return machine.Addrs()
}

// meets reports whether two lists have an address in common.
func meets(a, b []netip.Addr) bool {
	return slices.ContainsFunc(a, func(x netip.Addr) bool { return slices.Contains(b, x) })
}

// fill runs the feed until the store has synced.
func fill(ctx context.Context, store *cluster.Store, objects feed) error {
	running, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); objects.Run(running) }()
	defer func() { stop(); <-ended }()
	patience := time.After(planTimeout)
	for !store.Synced() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-patience:
			return fmt.Errorf("read objects: no complete list within %v%s", planTimeout, lastErrors(objects))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// lastErrors formats the last errors of a source.
func lastErrors(objects feed) string {
	for _, s := range objects.Status() {
		if s.LastError != "" {
			return ": " + s.LastError
		}
	}
	return ""
}
