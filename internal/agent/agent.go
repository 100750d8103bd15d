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

// The agent's times.
const (
	syncPoll      = 20 * time.Millisecond  // between looks whether the Store is complete
	syncPatience  = 30 * time.Second       // until it is said that it is not
	inspectPeriod = time.Second            // between looks whether the rules are still there
	retryFirst    = 100 * time.Millisecond // after the kernel refused
	retryLast     = 30 * time.Second
	routesFirst   = 10 * time.Second // after the kernel refused single routes
	routesLast    = 15 * time.Minute // all is read for it, and such errors seldom go away by themselves
)

// Machine has the machine's addresses and the networks that it is connected to: a
// *node.Machine.
type Machine interface {
	Addrs() []netip.Addr      // sorted; not to be changed
	Networks() []node.Network // not to be changed
	Changed() <-chan struct{} // readable when any of them changed
}

// Flows removes flows that lead nowhere: a *conntrack.Cleaner. Clean must not wait.
type Flows interface {
	Clean(nodeAddrs []netip.Addr, list []conntrack.Keep)
}

// Traffic counts what goes to some Services: a *traffic.Counter. Follow must not wait.
type Traffic interface {
	Follow(nodeAddrs []netip.Addr, changes []vip.Change)
}

// Events tells the owners of Services what concerns them and the API does not say. Event
// must not wait. What is true on each node has the same words on each.
type Events interface {
	Event(service cluster.Key, reason, message string)
}

// Options are what an Agent needs. Events, Ports and Relay may be nil.
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
	Relay     Ports // takes connections to NodePorts on loopback addresses: a *relay.Relay

	NodeName       string
	NodeAddr       netip.Addr // said by the user; unspecified: the Node object tells
	NodePorts      node.NodePorts
	Pods           Detection
	MasqueradeAll  bool
	MasqueradeMark uint32
	NoExternalIPs  bool           // leave out spec.externalIPs
	GuardedPorts   []vip.Port     // of the node: no Service takes them
	Traffic        Traffic        // nil: nobody's is counted
	DropsUnused    bool           // as vip.Host has it
	BindsExternal  bool           // as vip.Host has it
	Before         []vip.Frontend // that the kernel had before the start: those that are gone have flows to remove
	CutHalfOpen    bool           // have Flows remove TCP connections to backends that are gone, too, if they have no answer
}

// Agent is the loop. Make one with New.
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
	checks    []vip.Change // of healthCheckNodePorts, since rules were written last

	changes *cluster.Subscription
	built   map[cluster.Key]struct{} // Services that the next write brings up to date

	settings chan Options // what is configured otherwise now

	inPlace     chan struct{} // closed once the kernel has the table for the first time
	tellInPlace func()

	dirty  bool // the kernel may hold anything: only a Sync is of use
	retry  *time.Timer
	pause  backoff // after the kernel refused
	routes backoff // after it refused single routes
	blind  string  // why it is not known whether the rules are there
}

// New returns an Agent that does nothing until Run.
func New(o Options) *Agent {
	inPlace := make(chan struct{})
	return &Agent{
		changes: o.Store.Subscribe(), built: map[cluster.Key]struct{}{},
		settings: make(chan Options, 1), inPlace: inPlace, tellInPlace: sync.OnceFunc(func() { close(inPlace) }),
		Options: o, build: vip.BuildWithin, table: vip.NewTable(), budget: vip.NewBudget(vip.NodeRoom), lane: newLane(), leftOut: newLeftOut(),
		node:    vip.Node{Name: cluster.MakeAtom(o.NodeName), MasqueradeAll: o.MasqueradeAll, NoExternalIPs: o.NoExternalIPs},
		latency: newLatency(),
		flows:   newFlows(o.CutHalfOpen, o.Before), conflicts: newConflicts(), failing: failing{}, refusals: refusals{of: map[cluster.Key][]vip.Refusal{}}, counts: newCounts(), limits: newLimits(o.Dataplane), ranges: newRanges(),
		pause: backoff{first: retryFirst, last: retryLast}, routes: backoff{first: routesFirst, last: routesLast},
	}
}

// Table prints the table as it is now: a line for each frontend.
func (a *Agent) Table() string {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.table.String()
}

// Reconfigure takes over from o what a user configures and may change while the agent
// runs: NodeAddr, NodePorts, Pods, MasqueradeAll, MasqueradeMark, NoExternalIPs and GuardedPorts. It does not wait; of
// two calls the later counts.
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

// InPlace is closed once the kernel has the whole table for the first time.
func (a *Agent) InPlace() <-chan struct{} { return a.inPlace }

// Run works until ctx is done, and returns nil then. The rules stay. It returns an error
// at once if another process has the rules.
func (a *Agent) Run(ctx context.Context) error {
	a.Metrics.follow(a.changes)
	if !a.waitForStore(ctx) {
		return nil
	}
	a.retry = time.NewTimer(retryLast)
	a.retry.Stop()
	defer a.retry.Stop()
	inspect := time.NewTicker(inspectPeriod)
	defer inspect.Stop()

	a.look()
	a.latency.take()
	a.take(a.changes.Take(), true)
	a.enforce()
	if err := a.sync(ctx, "start"); errors.Is(err, dataplane.ErrInUse) {
		return fmt.Errorf("writing the rules of node %s: %w", a.NodeName, err)
	}
	rest := newRest()
	defer rest.timer.Stop()
	defer a.lane.rest.timer.Stop()
	for {
		a.startBuild()
		wake, told := a.changes.Wake(), a.latency.wake
		if rest.resting {
			wake, told = nil, nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-rest.timer.C:
			rest.resting = false
		case <-wake:
			rest.after(func() { a.follow(ctx) })
		case <-told: // changes may have been taken before their time was told
			rest.after(func() { a.follow(ctx) })
		case jobs := <-a.lane.built:
			a.begin(jobs)
		case <-a.lane.rest.timer.C:
			a.lane.rest.resting = false
		case <-a.lane.ready():
			select { // first what is not large, for between these cases chance decides
			case <-wake:
				rest.after(func() { a.follow(ctx) })
			default:
			}
			a.step(ctx)
		case <-a.Machine.Changed():
			a.change(ctx, nil)
		case o := <-a.settings:
			a.reconfigure(o)
			a.change(ctx, nil)
		case <-a.retry.C:
			_ = a.sync(ctx, "another attempt")
		case <-inspect.C:
			a.inspect(ctx)
		}
	}
}

// follow takes the changes that there are.
func (a *Agent) follow(ctx context.Context) {
	a.latency.take()
	if refs := a.changes.Take(); len(refs) > 0 {
		a.change(ctx, refs)
	} else if !a.dirty {
		a.latency.done(a.Metrics, a.lane.has)
	}
}

// finish notes that the kernel has what was built. What waits in the lane is not finished.
func (a *Agent) finish() {
	for k := range a.built {
		if !a.lane.has(k) {
			a.changes.Done(k)
		}
	}
	if len(a.built) > 0 {
		a.built = map[cluster.Key]struct{}{} // not cleared: to walk through a map costs what it once held
	}
	a.latency.done(a.Metrics, a.lane.has)
}

// waitForStore waits until the Store is complete; false: ctx is done before.
func (a *Agent) waitForStore(ctx context.Context) bool {
	poll := time.NewTicker(syncPoll)
	defer poll.Stop()
	start, told := time.Now(), time.Now()
	for !a.Store.Synced() {
		select {
		case <-ctx.Done():
			return false
		case <-poll.C:
		}
		if time.Since(told) >= syncPatience {
			told = time.Now()
			a.Log.Warn("waiting for the first complete list of Services; rules stay as they are until then",
				"waited", time.Since(start).Round(time.Second).String())
		}
	}
	return true
}

// backoff is a pause that doubles.
type backoff struct{ first, last, next time.Duration }

func (b *backoff) pause() time.Duration {
	p := max(b.next, b.first)
	b.next = min(p*2, b.last)
	return p
}

func (b *backoff) reset() { b.next = 0 }
