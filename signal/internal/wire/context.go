package wire

import (
	"context"
	"time"
)

// OnDone calls f when ctx is done. The function it returns ends that; when it
// returns, f is not running.
func OnDone(ctx context.Context, f func()) (stop func()) {
	ended := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(ended)
		f()
	})
	return func() {
		if !cancel() {
			<-ended
		}
	}
}

// Pause waits for d, or returns the cause of ctx.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
