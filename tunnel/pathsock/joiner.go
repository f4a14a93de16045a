package pathsock

import (
	"context"
	"sync"
)

// A joiner makes larger batches of those that QUIC writes: what is written
// while the kernel is busy with one batch goes out in the next one. A system
// call costs much, and so does what it sends on every hop up to the receiver's
// socket, so three times the size saves a quarter of the work of a bulk
// transfer. A batch that finds the kernel idle goes out at once.
//
// Nothing is joined while no goroutine is in [Peer.Run].
type joiner struct {
	mu      sync.Mutex
	changed sync.Cond // pending, sending or running has; its L is mu
	running bool
	sending bool
	pending []byte
	spare   []byte
	control control // of pending
	closed  bool    // the last packet of pending is shorter: nothing fits behind it
}

// The kernel takes so much in one call (UDP_MAX_SEGMENTS, and the largest UDP
// payload of IPv4 and IPv6).
const (
	maxSegments = 64
	maxJoined   = 65535 - 8 - 40
)

// fits reports whether b can go behind what is pending.
func (j *joiner) fits(b []byte, c control) bool {
	if len(j.pending) == 0 {
		return true
	}
	size := c.segment
	if size == 0 {
		size = len(b)
	}
	joined := len(j.pending) + len(b)
	return !j.closed && c.ecn == j.control.ecn && joined <= maxJoined && joined <= maxSegments*j.control.segment &&
		(size == j.control.segment || c.segment == 0 && size < j.control.segment)
}

// put queues b for the goroutine in Run. It reports false if b is to be sent by
// the caller, now: there is nobody to do it, or nothing to wait for.
func (j *joiner) put(b []byte, c control) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.running && !j.fits(b, c) {
		j.changed.Wait()
	}
	idle := len(j.pending) == 0 && !j.sending
	if !j.running || idle && c.segment == 0 {
		return false
	}
	if len(j.pending) == 0 {
		j.control, j.closed = c, false
		if c.segment == 0 {
			j.control.segment, j.closed = len(b), true
		}
	}
	j.closed = j.closed || len(b)%j.control.segment != 0
	j.pending = append(j.pending, b...)
	j.changed.Broadcast()
	return true
}

// take waits for something to send. It reports false when done.
func (j *joiner) take(ctx context.Context) (b []byte, c control, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sending = false
	for len(j.pending) == 0 && ctx.Err() == nil {
		j.changed.Wait()
	}
	if len(j.pending) == 0 {
		j.running = false
		j.changed.Broadcast()
		return nil, control{}, false
	}
	b, c = j.pending, j.control
	j.pending, j.spare = j.spare[:0], b
	j.sending = true
	if len(b) == c.segment {
		c.segment = 0
	}
	j.changed.Broadcast()
	return b, c, true
}

// Run sends what is written while the kernel is busy, in larger batches, until
// ctx is done. It is an optimization: without it, all is sent by whoever writes
// it. One goroutine at a time may be in it.
func (p *Peer) Run(ctx context.Context) {
	j := &p.joiner
	j.mu.Lock()
	j.running = true
	j.mu.Unlock()
	stop := context.AfterFunc(ctx, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.changed.Broadcast()
	})
	defer stop()
	for {
		b, c, ok := j.take(ctx)
		if !ok {
			return
		}
		if route := p.route.Load(); route.Direct.IsValid() {
			p.sendDirect(b, c, route) // an end of the socket is noticed by who writes next
		} else {
			p.writeRelay(b, c.segment)
		}
	}
}
