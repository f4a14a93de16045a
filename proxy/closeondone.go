package proxy

import (
	"context"
	"io"
	"sync"
)

// closeOnDone closes c once: when ctx is done or when release is called,
// whichever comes first. The owner of c defers release on the line after c is
// made. The error of Close is dropped: c must have nothing left to flush.
func closeOnDone(ctx context.Context, c io.Closer) (release func()) {
	closeOnce := sync.OnceFunc(func() { c.Close() })
	stop := context.AfterFunc(ctx, closeOnce)
	return func() {
		stop()
		closeOnce()
	}
}
