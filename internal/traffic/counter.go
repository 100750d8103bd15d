package traffic

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/vip"
)

// Counter counts the traffic of selected Services. Create one with New, start Run, and report
// the node's routes with Follow. It is a prometheus.Collector.
type Counter struct {
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex
	ledger  *ledger
	touched map[place]bool // may differ from what is installed

	use       sync.Mutex // guards the kernel and what is known about it; Follow never holds it
	kernel    *kernel
	made      bool
	installed map[place]series // empty until the table is created
	lastErr   string           // the last error, logged once
	failures  float64
}

// New returns a Counter for a list of Services, in which Everything matches any namespace or
// name. It opens a socket in the network namespace of the calling thread. Nothing is written before Run.
func New(services []cluster.Key, v6 bool, log *slog.Logger) (*Counter, error) {
	k, err := openKernel(v6)
	if err != nil {
		return nil, err
	}
	return &Counter{
		log: log, wake: make(chan struct{}, 1), ledger: newLedger(services), touched: map[place]bool{}, kernel: k, installed: map[place]series{},
	}, nil
}

// Remove removes the tables of an earlier process.
func Remove(v6 bool) error {
	k, err := openKernel(v6)
	if err != nil {
		return err
	}
	defer k.close()
	return k.remove()
}

// Follow records changes of the table and the addresses that serve NodePorts. It does not
// wait for the kernel. Its cost depends on the changes only.
func (c *Counter) Follow(nodeAddrs []netip.Addr, changes []vip.Change) {
	c.mu.Lock()
	for _, p := range slices.Concat(c.ledger.move(nodeAddrs), c.ledger.change(changes)) {
		c.touched[p] = true
	}
	work := len(c.touched) > 0
	c.mu.Unlock()
	if work {
		c.poke()
	}
}

func (c *Counter) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// again is the pause before a retry after an error.
const again = 5 * time.Second

// Run writes the recorded changes until ctx is done, then removes the tables because the
// counters can no longer be read.
func (c *Counter) Run(ctx context.Context) {
	defer c.end()
	for {
		var retry <-chan time.Time
		wake := c.wake
		if !c.write() {
			retry, wake = time.After(again), nil
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-retry:
		}
	}
}

// write updates the kernel and reports whether that succeeded.
func (c *Counter) write() bool {
	c.use.Lock()
	defer c.use.Unlock()
	if !c.made {
		if err := c.kernel.make(); err != nil {
			return c.trouble(err)
		}
		c.made = true
	}
	out, in, want := c.difference()
	if len(out)+len(in) == 0 {
		return true
	}
	if err := c.kernel.edit(out, in); err != nil {
		return c.trouble(err)
	}
	for _, p := range out {
		delete(c.installed, p)
	}
	for _, p := range in {
		c.installed[p] = want[p]
	}
	c.lastErr = ""
	return true
}

// difference returns what to write: the touched places, or all places if nothing is installed.
func (c *Counter) difference() (out, in []place, want map[place]series) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.installed) == 0 {
		for p := range c.ledger.places {
			c.touched[p] = true
		}
	}
	want = map[place]series{}
	for p := range c.touched {
		is, here := c.installed[p]
		be, wanted := c.ledger.places[p]
		if here && (!wanted || is != be) {
			out = append(out, p)
		}
		if wanted && (!here || is != be) {
			in, want[p] = append(in, p), be
		}
	}
	c.touched = map[place]bool{} // replaced, not cleared: iterating a cleared map scans its old buckets
	return out, in, want
}

// trouble logs an error and marks the tables for recreation. It returns false.
func (c *Counter) trouble(err error) bool {
	c.made, c.installed = false, map[place]series{}
	c.failures++
	if c.lastErr != err.Error() {
		c.lastErr = err.Error()
		c.log.Warn("counting traffic of Services failed; the counters restart at zero", "err", err, "retryIn", again.String())
	}
	return false
}

func (c *Counter) end() {
	c.use.Lock()
	defer c.use.Unlock()
	if err := c.kernel.remove(); err != nil {
		c.log.Warn("removing traffic counters failed", "err", err)
	}
	c.made = false
}

// Close closes the socket. Run must have returned.
func (c *Counter) Close() error { return c.kernel.close() }

var labels = []string{"namespace", "service", "port", "kind"}

var (
	connectionsTotal = prometheus.NewDesc("signpost_service_connections_total",
		"Connections that clients opened to a Service, refused ones included. Each attempt without a reply counts.", labels, nil)
	packetsTotal = prometheus.NewDesc("signpost_service_packets_total",
		"Packets to and from a Service, as its clients see it.", append(labels[:4:4], "direction"), nil)
	bytesTotal = prometheus.NewDesc("signpost_service_bytes_total",
		"Bytes of these packets, with their IP headers.", append(labels[:4:4], "direction"), nil)
	failuresTotal = prometheus.NewDesc("signpost_traffic_failures_total",
		"Failed reads or writes of the counters. The counters restart at zero after each.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Counter) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connectionsTotal, packetsTotal, bytesTotal, failuresTotal} {
		out <- d
	}
}

// Collect implements prometheus.Collector. It reads the counters from the kernel.
func (c *Counter) Collect(out chan<- prometheus.Metric) {
	sums, failures := c.sums()
	out <- prometheus.MustNewConstMetric(failuresTotal, prometheus.CounterValue, failures)
	for s, n := range sums {
		l := []string{s.owner.Service.Namespace, s.owner.Service.Name, s.owner.Port, s.kind.String()}
		send := func(d *prometheus.Desc, value uint64, more ...string) {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), append(l[:4:4], more...)...)
		}
		send(connectionsTotal, n.connections)
		send(packetsTotal, n.packetsIn, received)
		send(packetsTotal, n.packetsOut, sent)
		send(bytesTotal, n.bytesIn, received)
		send(bytesTotal, n.bytesOut, sent)
	}
}

// sums returns the numbers of each series.
func (c *Counter) sums() (map[series]numbers, float64) {
	c.use.Lock()
	defer c.use.Unlock()
	if !c.made {
		return nil, c.failures
	}
	there, err := c.kernel.read()
	if err != nil {
		c.trouble(err)
		c.poke()
		return nil, c.failures
	}
	sums := map[series]numbers{}
	for p, s := range c.installed {
		n := sums[s]
		n.add(there[p])
		sums[s] = n
	}
	return sums, c.failures
}
