package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestRest looks at the pause after writes of different lengths.
func TestRest(t *testing.T) {
	for _, c := range []struct {
		name        string
		took, pause time.Duration
	}{
		{"an element of a map", 200 * time.Microsecond, 0},
		{"many elements", time.Millisecond, 4 * time.Millisecond},
		{"a program", 40 * time.Millisecond, 160 * time.Millisecond},
		{"a slow one", 2 * time.Second, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRest()
				r.after(func() { time.Sleep(c.took) })
				if r.resting != (c.pause > 0) {
					t.Fatalf("resting: %v", r.resting)
				}
				if c.pause == 0 {
					return
				}
				start := time.Now()
				<-r.timer.C
				if got := time.Since(start); got != c.pause {
					t.Errorf("it rests for %v, want %v", got, c.pause)
				}
			})
		})
	}
}
