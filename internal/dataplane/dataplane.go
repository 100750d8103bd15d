// Package dataplane is the contract between the table of frontends and the ways
// to put it into a kernel. It must not know any of them, nor Services.
//
// A packet that begins a connection meets, in this order:
//
//  1. the frontend of its address, protocol and port, or, if the address serves
//     NodePorts, that of AnyNode4 or AnyNode6: if its source is not in Route.Sources it
//     is dropped; else the decision of its class says what happens: refused, dropped,
//     left alone, or sent to a backend of the set, drawn evenly or by affinity, and
//     masqueraded or not;
//  2. if nothing translated it, neither here nor by another's rules, and it is not for an
//     address of this node: the frontend OtherPorts of its address, and Host.Enforced where
//     there is none.
//
// A connection of a pod of this node that leads back to that pod is masqueraded,
// whatever the decision says (hairpin). What began goes on by conntrack.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Dataplane makes a kernel route what the table says. One goroutine uses it.
type Dataplane interface {
	// Sync makes the kernel equal to the whole table and finishes all of it. It adopts what is right
	// already and writes only what differs: at the start, after an error, when the host changes, and
	// when another program changed the rules.
	Sync(ctx context.Context, host Host, t *vip.Table) error
	// Apply brings the kernel from the table before the changes to the one after. Its cost is that of
	// the changes. It waits for no time to pass: it returns when Tick must be called for what is left,
	// or the zero time if the changes are complete. After an error other than RouteErrors only Sync is
	// of use.
	//
	// New connections have backends of the old or the new route while something is left.
	Apply(ctx context.Context, changes []vip.Change) (due time.Time, err error)
	// Tick does what is due: it writes the next part of large changes, removes backends whose
	// connections have ended and shapes that no frontend uses, and looks at the kernel at times. It is
	// called when something is due and about once a second. Its errors are those of Apply.
	Tick(ctx context.Context, now time.Time) (State, error)
	// Close frees the sockets and leaves the rules working.
	Close() error
}

// State is what Tick found.
type State struct {
	// Due is when Tick must be called again, at the latest; zero: the changes are complete.
	Due time.Time
	// Changed reports that another program changed what was written. Only Sync is of use then.
	Changed bool
	// Unseen is why the kernel could not be looked at; nil: it was, or nothing was to be looked at.
	Unseen error
}

// Host is what the rules depend on besides the table. It is not to be changed
// once passed. All of it may be another at each Sync, while the process runs.
type Host struct {
	vip.Host
	// MasqueradeMark is the bit of the packet mark that asks for masquerading.
	MasqueradeMark uint32
}

// ErrNotSupported is wrapped by errors about a kernel that lacks a feature.
var ErrNotSupported = errors.New("not supported by this kernel")

// ErrInUse is wrapped by errors about rules that another process owns.
var ErrInUse = errors.New("in use by another process")

// ErrInPart is wrapped by the cause of a RouteError whose route is in the kernel, but does not
// do all that it asks for.
var ErrInPart = errors.New("it works in part")

// ErrNoRules is returned where what a proxy wrote is looked for and there is nothing.
var ErrNoRules = errors.New("no proxy has written rules here")

// RouteError is one route that could not be programmed while the others were.
// Sync and Apply join these (errors.Join) where single routes are to blame.
type RouteError struct {
	Route *vip.Route
	Err   error
}

// Error implements error.
func (e *RouteError) Error() string {
	return fmt.Sprintf("programming %v for %v: %v", e.Route.Frontend, e.Route.Owner, e.Err)
}

// Unwrap gives the cause.
func (e *RouteError) Unwrap() error { return e.Err }
