package agent

import "time"

// The agent writes the first change at once. Then it pauses for restShare times the duration
// of that write and batches what arrives meanwhile. Writing thus takes at most a fifth of a
// CPU, even in a mode that starts programs.
const (
	restShare = 4
	restLeast = time.Millisecond // shorter pauses cost more than they save
	restMost  = time.Second      // as kube-proxy's minSyncPeriod
)

// rest throttles writes.
type rest struct {
	timer   *time.Timer
	resting bool
}

func newRest() *rest { return &rest{timer: stoppedTimer()} }

// stoppedTimer returns a timer that fires once it is reset.
func stoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// after runs work and starts the pause that matches its duration.
func (r *rest) after(work func()) {
	start := time.Now()
	work()
	r.begin(time.Since(start))
}

// begin starts the pause after work that took this long.
func (r *rest) begin(took time.Duration) {
	if pause := min(restShare*took, restMost); pause >= restLeast {
		r.resting = true
		r.timer.Reset(pause)
	}
}
