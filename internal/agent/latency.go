package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/signpost-dns/signpost/internal/cluster"
	"github.com/signpost-dns/signpost/internal/healthcheck"
)

// mostWaiting bounds what is remembered while the kernel refuses for hours.
const mostWaiting = 10000

// latency is the network programming latency: from the change of a pod to the rules.
// What is told waits until the agent has taken the changes that came before it, and
// then until these are written.
type latency struct {
	start time.Time // what happened before is not our delay: the process was not there
	wake  chan struct{}

	mu      sync.Mutex
	waiting []moment
	written []moment // waits for the kernel; only the agent uses it
}

// moment is when something changed.
type moment struct {
	family  healthcheck.Family
	service cluster.Key // whose endpoints changed; none if it need not be waited for
	at      time.Time
}

func newLatency() *latency { return &latency{start: time.Now(), wake: make(chan struct{}, 1)} }

// Programmed takes note of when endpoints of a Service changed that the Store shows now; the
// latency is observed when the rules lead to them. Safe for concurrent use. A change from
// before this process began does not count, as with kube-proxy: after a restart the
// metric goes on to tell how long changes take.
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

// take is to be called before the changes are taken: these include all that was told.
func (l *latency) take() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.written) < mostWaiting {
		l.written = append(l.written, l.waiting...)
	}
	l.waiting = l.waiting[:0]
}

// done observes what is in the kernel now: all but the changes of Services that wait.
func (l *latency) done(m *Metrics, waits func(cluster.Key) bool) {
	l.written = slices.DeleteFunc(l.written, func(w moment) bool {
		if waits(w.service) {
			return false
		}
		m.programming.WithLabelValues(string(w.family)).Observe(time.Since(w.at).Seconds())
		return true
	})
}

// claim takes out the changes of a Service that is built now.
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

// release returns what claim took out: the kernel has it with the next write.
func (l *latency) release(list []moment) { l.written = append(l.written, list...) }

// programmingBuckets are those of kube-proxy, in seconds.
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
