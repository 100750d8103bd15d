package loglimit

import (
	"cmp"
	"slices"
	"time"
)

// mostCauses limits the memory of a Limiter. Further causes in one period share one count.
const mostCauses = 1024

// Limiter passes a number of lines per cause and period, and counts the rest. It does not
// read the clock. It is not safe for concurrent use.
type Limiter struct {
	burst  int
	period time.Duration
	causes map[string]*window
	next   time.Time // end of the first window
}

// window is the current period of a cause.
type window struct {
	ends         time.Time
	passed, left int
}

// Left is the number of dropped lines of a cause.
type Left struct {
	Cause string
	Lines int
}

// NewLimiter returns a Limiter that passes burst lines per cause and period.
func NewLimiter(burst int, period time.Duration) *Limiter {
	return &Limiter{burst: burst, period: period, causes: map[string]*window{}}
}

// Allow reports whether a line of a cause passes.
func (l *Limiter) Allow(cause string, now time.Time) bool {
	w := l.causes[cause]
	if w == nil && len(l.causes) >= mostCauses {
		cause = ""
		w = l.causes[cause]
	}
	if w == nil {
		w = &window{ends: now.Add(l.period)}
		l.causes[cause] = w
		if l.next.IsZero() || w.ends.Before(l.next) {
			l.next = w.ends
		}
	}
	if w.passed < l.burst {
		w.passed++
		return true
	}
	w.left++
	return false
}

// Due ends the expired periods and returns their dropped lines, sorted by
// cause.
func (l *Limiter) Due(now time.Time) []Left {
	if l.next.IsZero() || now.Before(l.next) {
		return nil
	}
	var due []Left
	l.next = time.Time{}
	for cause, w := range l.causes {
		switch {
		case !now.Before(w.ends):
			delete(l.causes, cause)
			if w.left > 0 {
				due = append(due, Left{cause, w.left})
			}
		case l.next.IsZero() || w.ends.Before(l.next):
			l.next = w.ends
		}
	}
	slices.SortFunc(due, func(a, b Left) int { return cmp.Compare(a.Cause, b.Cause) })
	return due
}
