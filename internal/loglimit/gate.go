// Package loglimit limits the growth of a log, whatever objects a cluster contains. It counts
// lines by cause and by the namespace of the object that they describe. Lines over a limit are
// dropped, and a line at the end of the period reports how many.
package loglimit

import (
	"sync"
	"time"
)

// The limits per period. The limit of a namespace is lower, so that lines about other
// namespaces pass.
const (
	period       = time.Minute
	perCause     = 100
	perNamespace = 20
	debugTimes   = 20 // factor for all limits at level debug
)

// Gate decides which lines pass. Create one with NewGate. It is safe for concurrent use.
type Gate struct {
	report func(Left)

	mu        sync.Mutex
	all, each *Limiter
	waiting   bool // a timer for the next report is running
}

// NewGate returns a Gate that calls report with the number of dropped lines at the end of a period.
func NewGate(report func(Left)) *Gate { return newGate(1, report) }

func newGate(times int, report func(Left)) *Gate {
	return &Gate{report: report, all: NewLimiter(times*perCause, period), each: NewLimiter(times*perNamespace, period)}
}

// Pass reports whether a line passes. The namespace is empty for lines that describe no object.
func (g *Gate) Pass(cause, namespace string) bool {
	now := time.Now()
	g.mu.Lock()
	due := g.due(now)
	passes := namespace == "" || g.each.Allow(cause+" (namespace "+namespace+")", now)
	passes = passes && g.all.Allow(cause, now)
	if !passes && !g.waiting {
		g.waiting = true
		time.AfterFunc(period, g.flush)
	}
	g.mu.Unlock()
	g.tell(due)
	return passes
}

func (g *Gate) due(now time.Time) []Left { return append(g.each.Due(now), g.all.Due(now)...) }

func (g *Gate) tell(due []Left) {
	for _, l := range due {
		g.report(l)
	}
}

// flush reports dropped lines even if no further line follows.
func (g *Gate) flush() {
	g.mu.Lock()
	g.waiting = false
	due := g.due(time.Now())
	g.mu.Unlock()
	g.tell(due)
}
