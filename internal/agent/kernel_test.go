package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/conntrack"
	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// kernel is a dataplane in memory: it holds the routes that it was given, refuses what
// it is told to, and finds fault with changes that do not begin where it stands.
type kernel struct {
	mu      sync.Mutex
	routes  map[vip.Frontend]*vip.Route
	host    dataplane.Host
	gone    bool                  // another program flushed the rules
	missing map[vip.Frontend]bool // refused
	faults  []string

	syncs, applies, changes int
	fail                    func() error           // asked before each write; nil: never
	refuse                  func(*vip.Route) error // asked for each route; nil: never
	hold                    chan struct{}          // each write waits for one; nil: none does
	working                 chan struct{}          // told when a write waits
	unseen                  error                  // why Tick cannot look
	leaves                  time.Duration          // until what an Apply leaves is due
	left                    []time.Time            // when what Applies left is due
	order                   []string               // what happened, with conntrack
}

func newKernel() *kernel {
	return &kernel{routes: map[vip.Frontend]*vip.Route{}, missing: map[vip.Frontend]bool{}}
}

func (k *kernel) Sync(ctx context.Context, host dataplane.Host, t *vip.Table) error {
	k.wait(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.syncs++
	k.order = append(k.order, "sync")
	if err := k.failure(); err != nil {
		k.routes = map[vip.Frontend]*vip.Route{} // half done, as far as anybody knows
		return err
	}
	k.host, k.gone, k.left = host, false, nil
	clear(k.missing)
	k.routes = map[vip.Frontend]*vip.Route{}
	var errs []error
	for r := range t.All() {
		errs = append(errs, k.put(r))
	}
	return errors.Join(errs...)
}

func (k *kernel) Apply(ctx context.Context, changes []vip.Change) (time.Time, error) {
	k.wait(ctx)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.applies++
	k.changes += len(changes)
	k.order = append(k.order, "apply")
	if err := k.failure(); err != nil {
		return time.Time{}, err
	}
	if k.gone {
		return time.Time{}, errors.New("no such table")
	}
	var errs []error
	seen := map[vip.Frontend]bool{}
	for _, c := range changes {
		have := k.routes[c.Frontend]
		if (have == nil) != (c.Old == nil) && !k.missing[c.Frontend] || have != nil && c.Old != nil && have.String() != c.Old.String() {
			k.faults = append(k.faults, fmt.Sprintf("%v: is %v, but the change is from %v", c.Frontend, have, c.Old))
		}
		if seen[c.Frontend] {
			k.faults = append(k.faults, fmt.Sprintf("%v: twice in one call", c.Frontend))
		}
		seen[c.Frontend] = true
		delete(k.routes, c.Frontend)
		delete(k.missing, c.Frontend)
		if c.New != nil {
			errs = append(errs, k.put(c.New))
		}
	}
	if k.leaves > 0 {
		k.left = append(k.left, time.Now().Add(k.leaves))
	}
	return k.due(), errors.Join(errs...)
}

func (k *kernel) put(r *vip.Route) error {
	if k.refuse != nil {
		if err := k.refuse(r); err != nil {
			k.missing[r.Frontend] = true
			return &dataplane.RouteError{Route: r, Err: err}
		}
	}
	k.routes[r.Frontend] = r
	return nil
}

func (k *kernel) failure() error {
	if k.fail == nil {
		return nil
	}
	return k.fail()
}

// wait lets the test decide when the kernel is done.
func (k *kernel) wait(ctx context.Context) {
	k.mu.Lock()
	hold, working := k.hold, k.working
	k.mu.Unlock()
	if hold == nil {
		return
	}
	working <- struct{}{}
	select {
	case <-hold:
	case <-ctx.Done():
	}
}

func (k *kernel) Tick(_ context.Context, now time.Time) (dataplane.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if due := k.due(); !due.IsZero() && !due.After(now) {
		k.left = slices.DeleteFunc(k.left, func(at time.Time) bool { return !at.After(now) })
		k.order = append(k.order, "finish")
	}
	return dataplane.State{Due: k.due(), Changed: k.gone && k.unseen == nil, Unseen: k.unseen}, nil
}

// due returns when the first of what is left is due.
func (k *kernel) due() time.Time {
	if len(k.left) == 0 {
		return time.Time{}
	}
	return k.left[0]
}

func (k *kernel) Close() error { return nil }

// flush is what another program does.
func (k *kernel) flush() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.routes, k.gone = map[vip.Frontend]*vip.Route{}, true
}

// lines prints what is in the kernel, sorted.
func (k *kernel) lines() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []string
	for _, f := range slices.SortedFunc(maps.Keys(k.routes), vip.Frontend.Compare) {
		out = append(out, k.routes[f].String())
	}
	return out
}

// seen gives the counts so far.
func (k *kernel) seen() (syncs, applies int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.syncs, k.applies
}

// Clean makes the kernel the conntrack of the same node: it remembers the order.
func (k *kernel) Clean(nodeAddrs []netip.Addr, list []conntrack.Keep) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var lines []string
	for _, keep := range list {
		line := fmt.Sprintf("%v keep %v", keep.Frontend, keep.Backends)
		if len(keep.Draining) > 0 {
			line += fmt.Sprintf(" and flows to %v", keep.Draining)
		}
		if keep.Untranslated {
			line = fmt.Sprintf("%v keep what a rule translated", keep.Frontend)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	k.order = append(k.order, fmt.Sprint("clean ", lines))
}

// happened returns the order of writes and cleanings since the last call.
func (k *kernel) happened() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := k.order
	k.order = nil
	return out
}
