package netlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// WithGoTool returns a context that ends when the go command that started this process (go run, go test) is gone. The go
// command does not take its child along when it is killed. A process that something else started is not watched: it
// may well be meant to outlive its parent.
func WithGoTool(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	parent := os.Getppid()
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", parent)); err != nil || string(name) != "go\n" {
		return ctx, func() { cancel(context.Canceled) }
	}
	go func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if os.Getppid() != parent {
					cancel(errors.New("the go command that started this program is gone"))
					return
				}
			}
		}
	}()
	return ctx, func() { cancel(context.Canceled) }
}
