package dataplane

import (
	"context"

	"github.com/signpost-dns/signpost/internal/vip"
)

// Mode is one way to route, with its options. Each package below this one exports a function that returns its Mode.
type Mode struct {
	Name string
	// Auto reports whether the mode auto may choose it.
	Auto bool
	// Schedules reports whether a Service may choose how backends are chosen.
	Schedules bool
	// DropsUnused and BindsExternal are what vip.Host says about the mode.
	DropsUnused, BindsExternal bool
	Metrics                    Metrics

	Driver
	Kernel
	Handover // nil: no connection needs the rules of the mode once another one routes
}

// Driver makes the kernel of this node route.
type Driver interface {
	// Probe returns why this process cannot use the mode in the network namespace of the calling thread. It
	// changes nothing that stays.
	Probe() error
	// Open opens a dataplane in the network namespace of the calling thread. It changes nothing yet.
	Open() (Dataplane, error)
	// Render prints the rules that a host without rules gets for a table.
	Render(Host, *vip.Table) (string, error)
	// Limits returns what the mode can do in part only. It may be called after Probe.
	Limits() []Limit
}

// Kernel looks at the rules of a mode in the network namespace of the calling thread, whichever process wrote
// them, and removes them.
type Kernel interface {
	// InUse reports whether there are rules of the mode, by which the kernel routes.
	InUse(context.Context) (bool, error)
	// Frontends returns the frontends that rules of the mode translate, ours or kube-proxy's.
	Frontends() ([]vip.Frontend, error)
	// Inspect reads what the kernel has for a frontend and compares it with the table. The lines are for people.
	// It returns ErrNoRules where no forwarder has written any rules of the mode.
	Inspect(context.Context, Host, *vip.Table, vip.Frontend) ([]string, error)
	// Cleanup removes rules of the mode and returns what that was.
	Cleanup(context.Context, Cleaning) ([]string, error)
}

// Cleaning says which rules of a mode are to be removed.
type Cleaning struct {
	// Keep is the dataplane of the mode whose rules stay; nil: our rules are removed.
	Keep Dataplane
	// PeerRuns reports that a kube-proxy runs: its rules stay, and so do ours that cannot be told from them.
	PeerRuns bool
}

// Handover lets connections end that need the rules of a mode while another one routes.
type Handover interface {
	// Yield leaves new connections to the rules of another mode, which are in place.
	Yield() error
	// Connections reports whether there are rules of the mode, and whether connections need them.
	Connections() (rules, need bool, err error)
}

// Metrics are the names by which kube-proxy knows, in one mode, what is counted in every mode. Where it has none
// the name is empty and the metric is not served.
type Metrics struct {
	Failures         string // writes that failed
	PartialFailures  string // writes of changes that failed
	Listeners        string // sockets for NodePorts on loopback addresses
	ListenerFailures string // attempts to open such a socket that failed
}

// Limit is one thing that a mode can do in part only: it does what comes nearest.
type Limit struct {
	Name     string // for metrics: words with hyphens
	Why      string // what happens, and what the operator can do
	Concerns func(*vip.Route) bool
	Tell     bool // whether each Service gets an Event about it
}
