package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/healthcheck"
	"github.com/signpost-dns/signpost/internal/node"
	"github.com/signpost-dns/signpost/internal/vip"
)

// The agent's periods and timeouts.
const (
	syncPoll      = 20 * time.Millisecond  // period of the check whether the Store has synced
	syncLogPeriod = 30 * time.Second       // period of the warning while it has not
	tickPeriod    = time.Second            // period of the dataplane's Tick while nothing is due
	retryFirst    = 100 * time.Millisecond // first pause after a failed write
	retryLast     = 30 * time.Second
	routesFirst   = 10 * time.Second // first pause after the kernel rejected single routes
	routesLast    = 15 * time.Minute // a retry syncs the whole table, and such errors rarely vanish on their own
)

// Machine provides the machine's addresses and the networks that it is connected to. A
// *node.Machine implements it.
type Machine interface {
	Addrs() []netip.Addr      // sorted; read-only
	Networks() []node.Network // read-only
	Changed() <-chan struct{} // receives after any of them changed
}

// Flows removes stale flows. A *conntrack.Cleaner implements it. Clean must not block.
type Flows interface {
	Clean(nodeAddrs []netip.Addr, list []conntrack.Keep)
}

// Traffic counts the traffic of some Services. A *traffic.Counter implements it. Follow must not block.
type Traffic interface {
	Follow(nodeAddrs []netip.Addr, changes []vip.Change)
}

// Events reports to the owners of Services what the API does not show. Event must not
// block. A message that holds on every node has the same text on every node, so that
// the API can aggregate it.
type Events interface {
	Event(service cluster.Key, reason, message string)
}

// Options configure an Agent. Events, Ports, Relay and Traffic may be nil.
type Options struct {
	Store     *cluster.Store
	Dataplane dataplane.Dataplane
	Machine   Machine
	Flows     Flows
	Health    *healthcheck.Health
	Metrics   *Metrics
	Log       *slog.Logger
	Events    Events
	Ports     Ports
	Relay     Ports // accepts connections to NodePorts on loopback addresses: a *relay.Relay

	NodeName       string
	NodeAddr       netip.Addr // from the configuration; if unspecified, the Node object decides
	NodePorts      node.NodePorts
	Pods           Detection
	MasqueradeAll  bool
	MasqueradeMark uint32
	NoExternalIPs  bool              // ignores spec.externalIPs
	GuardedPorts   []vip.Port        // ports of the node that no Service may claim
	Traffic        Traffic           // nil disables traffic counting
	Limits         []dataplane.Limit // of the mode
	DropsUnused    bool              // as in vip.Host
	BindsExternal  bool              // as in vip.Host
	Before         []vip.Frontend    // in the kernel before the start; flows of those that are gone are removed
	CutHalfOpen    bool              // also removes unanswered TCP connections to removed backends
}

// Agent runs the sync loop. Create one with New.
type Agent struct {
	Options
	build func(*cluster.Entry, vip.Node, vip.Room) []*vip.Route // vip.BuildWithin; tests count its calls

	mu    sync.RWMutex // guards table against Table; never held while the kernel works
	table *vip.Table   // only Run changes it

	budget  *vip.Budget
	lane    lane
	leftOut leftOut

	node      vip.Node
	host      dataplane.Host
	flows     flows
	conflicts conflicts
	failing   failing
	refusals  refusals
	counts    counts
	limits    limits
	ranges    ranges
	latency   *latency
	checks    []vip.Change // changes of healthCheckNodePorts since the last write

	changes *cluster.Subscription
	built   map[cluster.Key]struct{} // Services whose routes are in the table, but not in the kernel

	settings chan Options // the latest configuration, from Reconfigure

	inPlace      chan struct{} // closed after the first successful sync
	closeInPlace func()

	upkeep
}

// upkeep is the state of the kernel's rules between two writes.
type upkeep struct {
	dirty   bool        // the last write failed: the kernel state is unknown and only a Sync repairs it
	due     time.Time   // when the dataplane continues the last changes; zero: they are complete
	ticks   *time.Timer // fires at due
	tickErr string      // the last State.Unseen of Tick, logged once

	retry  *time.Timer
	pause  backoff // after a failed write
	routes backoff // after rejected routes
}

// New returns an Agent. Run starts it.
func New(o Options) *Agent {
	inPlace := make(chan struct{})
	return &Agent{
		changes: o.Store.Subscribe(), built: map[cluster.Key]struct{}{},
		settings: make(chan Options, 1), inPlace: inPlace, closeInPlace: sync.OnceFunc(func() { close(inPlace) }),
		Options: o, build: vip.BuildWithin, table: vip.NewTable(), budget: vip.NewBudget(vip.NodeRoom), lane: newLane(), leftOut: newLeftOut(),
		node:    vip.Node{Name: cluster.MakeAtom(o.NodeName), MasqueradeAll: o.MasqueradeAll, NoExternalIPs: o.NoExternalIPs},
		latency: newLatency(),
		flows:   newFlows(o.CutHalfOpen, o.Before), conflicts: newConflicts(), failing: failing{}, refusals: refusals{of: map[cluster.Key][]vip.Refusal{}}, counts: newCounts(), limits: newLimits(o.Limits), ranges: newRanges(),
		upkeep: upkeep{
			ticks: stoppedTimer(), retry: stoppedTimer(),
			pause: backoff{first: retryFirst, last: retryLast}, routes: backoff{first: routesFirst, last: routesLast},
		},
	}
}

// Table formats the current table: one line per frontend.
func (a *Agent) Table() string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.table.String()
}

// Reconfigure replaces the settings that may change while the agent runs: NodeAddr,
// NodePorts, Pods, MasqueradeAll, MasqueradeMark, NoExternalIPs and GuardedPorts. It does
// not block. If calls overlap, the last one wins.
func (a *Agent) Reconfigure(o Options) {
	select {
	case <-a.settings:
	default:
	}
	a.settings <- o
}

func (a *Agent) reconfigure(o Options) {
	a.NodeAddr, a.NodePorts, a.Pods = o.NodeAddr, o.NodePorts, o.Pods
	a.MasqueradeAll, a.MasqueradeMark, a.NoExternalIPs, a.GuardedPorts = o.MasqueradeAll, o.MasqueradeMark, o.NoExternalIPs, o.GuardedPorts
}

// InPlace returns a channel that closes after the first sync of the whole table.
func (a *Agent) InPlace() <-chan struct{} { return a.inPlace }

// Run syncs until ctx is done, then returns nil and leaves the rules in place. It returns
// an error if another process owns the rules.
func (a *Agent) Run(ctx context.Context) error {
	a.Metrics.follow(a.changes)
	if !a.waitForStore(ctx) {
		return nil
	}
	defer a.retry.Stop()
	defer a.ticks.Stop()
	ticker := time.NewTicker(tickPeriod)
	defer ticker.Stop()

	if err := a.start(ctx); err != nil {
		return err
	}
	rest := newRest()
	defer rest.timer.Stop()
	defer a.lane.rest.timer.Stop()
	for {
		a.startBuild()
		wake, programmed, step := a.changes.Wake(), a.latency.wake, a.ready()
		if rest.resting {
			wake, programmed, step = nil, nil, nil // steps during a pause would go before the changes that wait for its end
		}
		select {
		case <-ctx.Done():
			return nil
		case <-rest.timer.C:
			rest.resting = false
		case <-wake:
			rest.after(func() { a.follow(ctx) })
		case <-programmed: // the changes may have been taken before Programmed was called for them
			rest.after(func() { a.follow(ctx) })
		case jobs := <-a.lane.built:
			a.begin(jobs)
		case <-a.lane.rest.timer.C:
			a.lane.rest.resting = false
		case <-step:
			a.followFirst(ctx, wake, rest)
			a.step(ctx)
		case <-a.ticks.C:
			a.followFirst(ctx, wake, rest)
			a.finishChanges(ctx)
		case <-a.Machine.Changed():
			a.change(ctx, nil)
		case o := <-a.settings:
			a.reconfigure(o)
			a.change(ctx, nil)
		case <-a.retry.C:
			_ = a.sync(ctx, "retry")
		case <-ticker.C:
			a.tick(ctx)
		}
	}
}

// start writes the whole table for the first time. It returns an error if another process owns the rules.
func (a *Agent) start(ctx context.Context) error {
	a.refreshNode()
	a.latency.take()
	a.take(a.changes.Take(), true)
	a.enforce()
	if err := a.sync(ctx, "start"); errors.Is(err, dataplane.ErrInUse) {
		return fmt.Errorf("writing the rules of node %s: %w", a.NodeName, err)
	}
	return nil
}

// followFirst processes pending changes of small Services before a part of a large change: select picks at random
// between ready cases.
func (a *Agent) followFirst(ctx context.Context, wake <-chan struct{}, rest *rest) {
	select {
	case <-wake:
		rest.after(func() { a.follow(ctx) })
	default:
	}
}

// follow processes the pending changes.
func (a *Agent) follow(ctx context.Context) {
	a.latency.take()
	if refs := a.changes.Take(); len(refs) > 0 {
		a.change(ctx, refs)
	} else if !a.dirty {
		a.latency.done(a.Metrics, a.lane.has)
	}
}

// finish marks the built Services as written. Those that wait in the lane are not finished.
func (a *Agent) finish() {
	for k := range a.built {
		if !a.lane.has(k) {
			a.changes.Done(k)
		}
	}
	if len(a.built) > 0 {
		a.built = map[cluster.Key]struct{}{} // replaced, not cleared: iterating a cleared map scans its old buckets
	}
	a.latency.done(a.Metrics, a.lane.has)
}

// waitForStore blocks until the Store has synced. It returns false if ctx ends first.
func (a *Agent) waitForStore(ctx context.Context) bool {
	poll := time.NewTicker(syncPoll)
	defer poll.Stop()
	start, logged := time.Now(), time.Now()
	for !a.Store.Synced() {
		select {
		case <-ctx.Done():
			return false
		case <-poll.C:
		}
		if time.Since(logged) >= syncLogPeriod {
			logged = time.Now()
			a.Log.Warn("waiting for the first complete list of Services; existing rules stay unchanged",
				"waited", time.Since(start).Round(time.Second).String())
		}
	}
	return true
}

// backoff doubles a pause between first and last.
type backoff struct{ first, last, next time.Duration }

func (b *backoff) pause() time.Duration {
	p := max(b.next, b.first)
	b.next = min(p*2, b.last)
	return p
}

func (b *backoff) reset() { b.next = 0 }
