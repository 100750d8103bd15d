package agent

import (
	"sync"
	"time"

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
	family healthcheck.Family
	at     time.Time
}

func newLatency() *latency { return &latency{start: time.Now(), wake: make(chan struct{}, 1)} }

// Programmed takes note of when endpoints of a family changed that the Store shows now; the
// latency is observed when the rules lead to them. Safe for concurrent use. A change from
// before this process began does not count, as with kube-proxy: after a restart the
// metric goes on to tell how long changes take.
func (a *Agent) Programmed(family healthcheck.Family, since time.Time) {
	l := a.latency
	if !since.After(l.start) {
		return
	}
	l.mu.Lock()
	if len(l.waiting) < mostWaiting {
		l.waiting = append(l.waiting, moment{family, since})
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

// done observes what is in the kernel now.
func (l *latency) done(m *Metrics) {
	for _, w := range l.written {
		m.programming.WithLabelValues(string(w.family)).Observe(time.Since(w.at).Seconds())
	}
	l.written = l.written[:0]
}

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
