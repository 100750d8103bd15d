package agent

import "time"

// The first of several changes is written at once, and then nothing for a while that is so
// many times as long as the write took: what comes meanwhile is written together. So
// writing takes at most a fifth of a processor, also where it means to start a program.
const (
	restShare = 4
	restLeast = time.Millisecond // shorter ones cost more than they save
	restMost  = time.Second      // as kube-proxy's minSyncPeriod
)

// rest is the pause between two writes.
type rest struct {
	timer   *time.Timer
	resting bool
}

func newRest() *rest {
	r := &rest{timer: time.NewTimer(restMost)}
	r.timer.Stop()
	return r
}

// after works, and begins the pause that follows from how long that took.
func (r *rest) after(work func()) {
	start := time.Now()
	work()
	r.begin(time.Since(start))
}

// begin begins the pause after work that took so long.
func (r *rest) begin(took time.Duration) {
	if pause := min(restShare*took, restMost); pause >= restLeast {
		r.resting = true
		r.timer.Reset(pause)
	}
}
