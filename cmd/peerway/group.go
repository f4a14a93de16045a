package main

import (
	"context"
	"sync"
)

// background runs f beside the caller until the returned function is called,
// which waits for f. If f ends before that, fail is told why.
//
// f does not end with ctx: what is started first ends last, so that each service
// can say its last words through those below it.
func background(ctx context.Context, fail context.CancelCauseFunc, f func(context.Context) error) (end func()) {
	life, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() {
		if err := f(life); life.Err() == nil {
			fail(err)
		}
	})
	return func() {
		stop(context.Cause(ctx))
		running.Wait()
	}
}
