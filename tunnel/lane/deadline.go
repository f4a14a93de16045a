package lane

import (
	"sync"
	"time"
)

// A deadline is a channel that is closed when a time has come, which may be
// changed while others wait. Its zero value never comes.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{} // made on demand; replaced when a new time is set after it was closed
}

// done returns a channel that is closed once the deadline that is set now, or
// a later one set before it comes, is over.
func (d *deadline) done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel()
}

// passed reports whether the deadline is over.
func (d *deadline) passed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over != nil && isClosed(d.over)
}

// set moves the deadline to t; the zero time means never.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // it has fired: let it finish, so that it closes no later channel
	}
	d.timer = nil
	over := d.channel()
	if isClosed(over) {
		if !t.IsZero() && time.Until(t) <= 0 {
			return
		}
		d.over = nil
		over = d.channel()
	}
	switch wait := time.Until(t); {
	case t.IsZero():
	case wait <= 0:
		close(over)
	default:
		d.timer = time.AfterFunc(wait, func() { close(over) })
	}
}

func (d *deadline) channel() chan struct{} {
	if d.over == nil {
		d.over = make(chan struct{})
	}
	return d.over
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
