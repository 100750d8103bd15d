// Package loglimit bounds what a log grows by, whatever objects a cluster has: lines are
// counted by their cause, and by the namespace of the object that they are about. Those
// over a bound are left out, and a line at the end of the period says how many.
package loglimit

import (
	"sync"
	"time"
)

// The bounds per period. A namespace gets a part only, so that the lines about others
// pass.
const (
	period       = time.Minute
	perCause     = 100
	perNamespace = 20
	debugTimes   = 20 // who asks for debug lines gets so many times as many
)

// Gate lets lines pass. Make one with NewGate. Safe for concurrent use.
type Gate struct {
	report func(Left)

	mu        sync.Mutex
	all, each *Limiter
	waiting   bool // a timer runs that reports what was left out
}

// NewGate returns a Gate that reports what was left out, at the end of a period.
func NewGate(report func(Left)) *Gate { return newGate(1, report) }

func newGate(times int, report func(Left)) *Gate {
	return &Gate{report: report, all: NewLimiter(times*perCause, period), each: NewLimiter(times*perNamespace, period)}
}

// Pass reports whether a line passes. The namespace is empty for lines about no object.
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

// flush reports what is due although no line came since.
func (g *Gate) flush() {
	g.mu.Lock()
	g.waiting = false
	due := g.due(time.Now())
	g.mu.Unlock()
	g.tell(due)
}
