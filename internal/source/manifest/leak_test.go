package manifest

import (
	"context"
	"os"
	"testing"
)

// TestRunLeavesNoFiles runs a feed twice: neither watches nor files stay open. The goroutines are
// counted by TestMain.
func TestRunLeavesNoFiles(t *testing.T) {
	open := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skipf("counting open files needs /proc: %v", err)
		}
		return len(list)
	}
	l := newLab(t)
	l.write("sub/a.yaml", doc("a", "10.0.0.1"))
	l.open()
	run := func() {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.feed.Run(ctx)
		}()
		l.write("sub/a.yaml", doc("a", "10.0.0.2"))
		l.ip("a", "10.0.0.2")
		l.write("sub/a.yaml", doc("a", "10.0.0.3"))
		l.ip("a", "10.0.0.3")
		stop()
		<-done
	}
	run() // the runtime opens its poller once
	before := open()
	run()
	if after := open(); after != before {
		t.Errorf("%d open files, %d before", after, before)
	}
}
