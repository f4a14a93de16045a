package httpx

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"peerway/proxy"
)

// patience is how long a viewer who has ended his direction, and to whom
// nothing is sent, counts as one who waits for an answer.
const patience = 3 * time.Second

// viewers is a listener whose connections keep their half-close.
type viewers struct{ net.Listener }

// Accept implements [net.Listener].
func (l viewers) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if conn, ok := c.(proxy.Conn); ok {
		return &viewer{Conn: conn, changed: make(chan struct{}, 1)}, nil
	}
	return c, err
}

// A viewer is the connection of a viewer. The server of net/http reads one byte
// while a handler works, and takes the end of the incoming direction for the
// end of the viewer: it cancels the request. So that read is told of the end
// only when nothing was sent to the viewer for some time. A viewer who is really gone
// resets the connection when something is sent to him.
type viewer struct {
	proxy.Conn
	changed chan struct{} // holds something after a change of what follows

	mu       sync.Mutex
	busy     bool      // a handler works for him
	old      bool      // his HTTP is 1.0: he takes the end of the connection for that of the answer
	deadline time.Time // of Read; zero is none
	sent     time.Time // when something was last sent
}

// Read implements [net.Conn].
func (v *viewer) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	if n == 0 && err == io.EOF && len(p) == 1 {
		return 0, v.outwait()
	}
	return n, err
}

// outwait waits until the end of the incoming direction is to be told.
func (v *viewer) outwait() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	began := time.Now()
	for {
		now := time.Now()
		since := began
		if v.sent.After(since) {
			since = v.sent
		}
		wait := since.Add(patience).Sub(now)
		switch {
		case !v.deadline.IsZero() && !now.Before(v.deadline):
			return os.ErrDeadlineExceeded
		case !v.busy || wait <= 0:
			return io.EOF
		case !v.deadline.IsZero():
			wait = min(wait, v.deadline.Sub(now))
		}
		v.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-v.changed:
		case <-timer.C:
		}
		timer.Stop()
		v.mu.Lock()
	}
}

// Write implements [net.Conn].
func (v *viewer) Write(p []byte) (int, error) {
	n, err := v.Conn.Write(p)
	if n > 0 {
		v.mu.Lock()
		v.sent = time.Now()
		v.mu.Unlock()
	}
	return n, err
}

// SetReadDeadline implements [net.Conn].
func (v *viewer) SetReadDeadline(t time.Time) error {
	v.change(func() { v.deadline = t })
	return v.Conn.SetReadDeadline(t)
}

// SetDeadline implements [net.Conn].
func (v *viewer) SetDeadline(t time.Time) error {
	v.change(func() { v.deadline = t })
	return v.Conn.SetDeadline(t)
}

// Close implements [net.Conn].
func (v *viewer) Close() error {
	v.change(func() {
		if v.busy && v.old {
			proxy.Abort(v.Conn)
		}
		v.busy = false
	})
	return v.Conn.Close()
}

// work says whether a handler works for the viewer, and whether his HTTP is 1.0.
func (v *viewer) work(busy, old bool) { v.change(func() { v.busy, v.old = busy, old }) }

// change makes a change and wakes outwait.
func (v *viewer) change(f func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	f()
	select {
	case v.changed <- struct{}{}:
	default: // outwait has not seen the one before: it will see both
	}
}

type viewerKey struct{}

// withViewer is the ConnContext of the server: handlers find their viewer in
// the context.
func withViewer(ctx context.Context, c net.Conn) context.Context {
	if v, ok := c.(*viewer); ok {
		return context.WithValue(ctx, viewerKey{}, v)
	}
	return ctx
}

// working marks the viewer of r as one for whom a handler works, until done is
// called.
func working(r *http.Request) (done func()) {
	v, ok := r.Context().Value(viewerKey{}).(*viewer)
	if !ok {
		return func() {}
	}
	v.work(true, !r.ProtoAtLeast(1, 1))
	return func() { v.work(false, false) }
}
