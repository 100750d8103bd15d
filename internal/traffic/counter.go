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

// Counter keeps the numbers of some Services. Make one with New, start Run, and tell it by
// Follow what the node routes. It is a prometheus.Collector.
type Counter struct {
	log  *slog.Logger
	wake chan struct{}

	mu      sync.Mutex
	ledger  *ledger
	touched map[place]bool // may be other than what is installed

	use       sync.Mutex // of the kernel, and what is known of it; never held by Follow
	kernel    *kernel
	made      bool
	installed map[place]series // empty until the table is made
	told      string           // the last trouble, so that it is told once
	failures  float64
}

// New counts Services of a list, in which Everything stands for any namespace or name. It
// opens a socket in the network namespace of the calling thread; nothing is written before Run.
func New(services []cluster.Key, v6 bool, log *slog.Logger) (*Counter, error) {
	k, err := openKernel(v6)
	if err != nil {
		return nil, err
	}
	return &Counter{
		log: log, wake: make(chan struct{}, 1), ledger: newLedger(services), touched: map[place]bool{}, kernel: k, installed: map[place]series{},
	}, nil
}

// Remove removes what a Counter of an earlier process left.
func Remove(v6 bool) error {
	k, err := openKernel(v6)
	if err != nil {
		return err
	}
	defer k.close()
	return k.remove()
}

// Follow takes note of changes of the table and of which addresses serve NodePorts. It does
// not wait for the kernel, and the cost is that of the changes.
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

// again is the pause after the kernel refused.
const again = 5 * time.Second

// Run writes what Follow says until ctx is done; then the table is removed, for nobody would
// read it.
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

// write brings the kernel up to date, and reports whether it took it.
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
	c.told = ""
	return true
}

// difference is what is to be written: of what was touched, or of all if nothing is installed.
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
	c.touched = map[place]bool{} // not cleared: to walk through a map costs what it once held
	return out, in, want
}

// trouble tells of an error, and that the table must be made anew. It returns false.
func (c *Counter) trouble(err error) bool {
	c.made, c.installed = false, map[place]series{}
	c.failures++
	if c.told != err.Error() {
		c.told = err.Error()
		c.log.Warn("counting the traffic of Services; it begins anew", "error", err, "retryIn", again.String())
	}
	return false
}

func (c *Counter) end() {
	c.use.Lock()
	defer c.use.Unlock()
	if err := c.kernel.remove(); err != nil {
		c.log.Warn("ending to count the traffic of Services", "error", err)
	}
	c.made = false
}

// Close frees the socket; Run must have ended.
func (c *Counter) Close() error { return c.kernel.close() }

var labels = []string{"namespace", "service", "port", "kind"}

var (
	connectionsTotal = prometheus.NewDesc("signpost_service_connections_total",
		"Connections to a Service that clients began, refused ones included; of those that are not answered each attempt.", labels, nil)
	packetsTotal = prometheus.NewDesc("signpost_service_packets_total",
		"Packets to and from a Service, as its clients see it.", append(labels[:4:4], "direction"), nil)
	bytesTotal = prometheus.NewDesc("signpost_service_bytes_total",
		"Bytes of these packets, with their IP headers.", append(labels[:4:4], "direction"), nil)
	failuresTotal = prometheus.NewDesc("signpost_traffic_failures_total",
		"Times that the counters could not be written or read; they begin anew.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Counter) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{connectionsTotal, packetsTotal, bytesTotal, failuresTotal} {
		out <- d
	}
}

// Collect implements prometheus.Collector. It reads the kernel, at the cost of what is counted.
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

// sums reads the numbers of each series.
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
