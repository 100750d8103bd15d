package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/dataplane"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Options are what can be chosen about a Dataplane.
type Options struct {
	// Log gets a line where an operator may want to know. Nil is silence.
	Log *slog.Logger
	// Tools are the programs; the zero value lets Open find out which the node uses.
	Tools Tools
	// SyncPeriod is the time between two comparisons of the jumps and the shared chains; zero: each
	// call of Tick compares them.
	SyncPeriod time.Duration
	// Registry gets the metrics of Open. Nil: none are kept.
	Registry prometheus.Registerer
}

// lockPatience is how long iptables-restore waits for the lock of the tables (legacy only).
const lockPatience = 5 * time.Second

// Dataplane is a dataplane.Dataplane by iptables. It is used by one goroutine.
type Dataplane struct {
	log      *slog.Logger
	families []*family
	doubt    error // why it is not known what is in the kernel; nil if it is
	looks    looks
	metrics  metrics
}

// A family is one of the two sets of programs with what was written by it.
type family struct {
	Tools
	v4      bool
	rules   *ruleset
	written int   // lines that restore was given
	last    tally // rules that it was given in the last Sync or Apply
}

var _ dataplane.Dataplane = (*Dataplane)(nil)

// Open opens a dataplane in the network namespace of the calling thread. It changes
// nothing yet.
func Open(o Options) (*Dataplane, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tools == (Tools{}) {
		var err error
		if o.Tools, err = Detect(); err != nil {
			return nil, err
		}
	}
	d := &Dataplane{log: o.Log, doubt: errors.New("there was no Sync yet"), looks: looks{period: o.SyncPeriod}, metrics: newMetrics()}
	for _, v4 := range []bool{true, false} {
		f := &family{Tools: o.Tools.of(v4), v4: v4}
		if err := f.works(); err == nil {
			d.families = append(d.families, f)
		} else if v4 {
			return nil, err
		}
	}
	return d, d.metrics.register(o.Registry)
}

// Sync implements dataplane.Dataplane.
func (d *Dataplane) Sync(ctx context.Context, host dataplane.Host, t *vip.Table) error {
	if bits.OnesCount32(host.MasqueradeMark) != 1 {
		return fmt.Errorf("mark for masquerading 0x%x: expected one bit", host.MasqueradeMark)
	}
	d.doubt = errors.New("the last Sync did not end")
	changes := t.Additions()
	beLiberal, _ := readNumber("/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal") // no tracking yet: not liberal
	liberal := beLiberal == 1
	for _, f := range d.families {
		f.rules = newRuleset(&host, f.v4, liberal)
		f.rules.change(changes)
		there, err := f.save(ctx)
		if err != nil {
			d.doubt = err
			return err
		}
		if err := f.restore(ctx, f.rules.repair(there, f.rules.tables())); err != nil {
			d.doubt = err
			return err
		}
	}
	d.doubt = nil
	d.looks.written()
	d.metrics.count(d.families)
	return d.unsupported(changes)
}

// unsupported is the errors about routes of a family that the node has no iptables for.
func (d *Dataplane) unsupported(changes []vip.Change) error {
	var errs []error
	for _, c := range changes {
		if c.New != nil && !c.Addr.Is4() && len(d.families) < 2 {
			errs = append(errs, &dataplane.RouteError{Route: c.New, Err: fmt.Errorf("ip6tables: %w", dataplane.ErrNotSupported)})
		}
	}
	return errors.Join(errs...)
}

// Apply implements dataplane.Dataplane.
func (d *Dataplane) Apply(ctx context.Context, changes []vip.Change) (due time.Time, err error) {
	if d.doubt != nil {
		return due, fmt.Errorf("apply %d changes: it is not known what is in the kernel, Sync must come first: %w", len(changes), d.doubt)
	}
	for _, f := range d.families {
		s := script{}
		for g, was := range f.rules.change(changes) {
			s.pieces(was, f.rules.pieces[g])
		}
		if err := f.restore(ctx, s); err != nil {
			d.doubt = err
			return due, err
		}
	}
	d.metrics.count(d.families)
	return due, d.unsupported(changes)
}

// Close implements dataplane.Dataplane.
func (d *Dataplane) Close() error { return nil }

// save lists what is there, in all tables: one process is quicker than one for each.
func (f *family) save(ctx context.Context) (listing, error) {
	out, err := run(ctx, nil, f.Save)
	if err != nil {
		return nil, err
	}
	all, err := parse(out)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Save, err)
	}
	return all, nil
}

// restore writes a script, if there is anything in it.
func (f *family) restore(ctx context.Context, s script) error {
	f.last = tally{}
	f.last.script(s)
	if len(s) == 0 {
		return nil
	}
	for _, piece := range s.cut(maxChains) {
		text := piece.String()
		f.written += strings.Count(text, "\n")
		if _, err := run(ctx, []byte(text), f.Restore, "--noflush", "--counters", "-w", fmt.Sprint(int(lockPatience.Seconds()))); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program. The error says what it printed.
func run(ctx context.Context, input []byte, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(input)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.Bytes(), fmt.Errorf("%s %s: %w: %s%s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()), blamed(said.String(), input))
	}
	return out.Bytes(), nil
}

// blamed adds the line of the input that the program complains of.
func blamed(said string, input []byte) string {
	_, rest, found := strings.Cut(said, "line")
	if !found || len(input) == 0 {
		return ""
	}
	var n int
	if _, err := fmt.Sscanf(strings.TrimLeft(rest, " :"), "%d", &n); err != nil || n < 1 {
		return ""
	}
	lines := strings.Split(string(input), "\n")
	if n > len(lines) {
		return ""
	}
	return fmt.Sprintf(" (%q)", lines[n-1])
}

// readNumber reads a setting of the kernel.
func readNumber(file string) (int, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
