package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// mostWaiting limits the recorded moments while writes fail for a long time.
const mostWaiting = 10000

// latency measures the network programming latency: the time from the change of a pod to
// the rules. A moment waits until the agent has taken the changes before it, and then
// until they are written.
type latency struct {
	start time.Time // earlier changes are not measured: this process did not run
	wake  chan struct{}

	mu      sync.Mutex
	waiting []moment
	written []moment // taken, but not in the kernel; only the agent uses it
}

// moment records when something changed.
type moment struct {
	family  healthcheck.Family
	service cluster.Key // whose endpoints changed; zero if the moment waits for no Service
	at      time.Time
}

func newLatency() *latency { return &latency{start: time.Now(), wake: make(chan struct{}, 1)} }

// Programmed records when the endpoints of a Service changed that the Store now shows. The
// agent observes the latency when the rules use them. It is safe for concurrent use. As in
// kube-proxy, changes from before the process start do not count, so a restart does not
// distort the metric.
func (a *Agent) Programmed(family healthcheck.Family, service cluster.Key, since time.Time) {
	l := a.latency
	if !since.After(l.start) {
		return
	}
	l.mu.Lock()
	if len(l.waiting) < mostWaiting {
		l.waiting = append(l.waiting, moment{family, service, since})
	}
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// take moves the waiting moments to those being written. Call it before taking the changes, which then include them.
func (l *latency) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.written) < mostWaiting {
		l.written = append(l.written, l.waiting...)
	}
	l.waiting = l.waiting[:0]
}

// done observes the moments whose changes are in the kernel: all except those of waiting Services.
func (l *latency) done(m *Metrics, waits func(cluster.Key) bool) {
	l.written = slices.DeleteFunc(l.written, func(w moment) bool {
		if waits(w.service) {
			return false
		}
		m.programming.WithLabelValues(string(w.family)).Observe(time.Since(w.at).Seconds())
		return true
	})
}

// claim removes and returns the moments of a Service that is being built.
func (l *latency) claim(service cluster.Key) (list []moment) {
	l.written = slices.DeleteFunc(l.written, func(w moment) bool {
		if w.service != service {
			return false
		}
		w.service = cluster.Key{}
		list = append(list, w)
		return true
	})
	return list
}

// release returns claimed moments: the next write includes them.
func (l *latency) release(list []moment) { l.written = append(l.written, list...) }

// programmingBuckets returns the buckets of kube-proxy, in seconds.
func programmingBuckets() (b []float64) {
	add := func(from, step float64, n int) {
		for i := range n {
			b = append(b, from+step*float64(i))
		}
	}
	add(0.25, 0.25, 2)
	add(1, 1, 59)
	add(60, 5, 12)
	add(120, 30, 7)
	return b
}
