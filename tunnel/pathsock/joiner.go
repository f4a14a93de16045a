package pathsock

import (
	"context"
	"sync"

	"peerway/signal/datagram"
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
	control datagram.Control // of pending
	closed  bool             // the last packet of pending is shorter: nothing fits behind it
}

// fits reports whether b can go behind what is pending.
func (j *joiner) fits(b []byte, c datagram.Control) bool {
	if len(j.pending) == 0 {
		return true
	}
	size := c.Segment
	if size == 0 {
		size = len(b)
	}
	joined := len(j.pending) + len(b)
	return !j.closed && c.ECN == j.control.ECN && joined <= datagram.MaxBatch && joined <= datagram.MaxSegments*j.control.Segment &&
		(size == j.control.Segment || c.Segment == 0 && size < j.control.Segment)
}

// put queues b for the goroutine in Run. It reports false if b is to be sent by
// the caller, now: there is nobody to do it, or nothing to wait for.
func (j *joiner) put(b []byte, c datagram.Control) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.running && !j.fits(b, c) {
		j.changed.Wait()
	}
	idle := len(j.pending) == 0 && !j.sending
	if !j.running || idle && c.Segment == 0 {
		return false
	}
	if len(j.pending) == 0 {
		j.control, j.closed = c, false
		if c.Segment == 0 {
			j.control.Segment, j.closed = len(b), true
		}
	}
	j.closed = j.closed || len(b)%j.control.Segment != 0
	j.pending = append(j.pending, b...)
	j.changed.Broadcast()
	return true
}

// take waits for something to send. It reports false when done.
func (j *joiner) take(ctx context.Context) (b []byte, c datagram.Control, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sending = false
	for len(j.pending) == 0 && ctx.Err() == nil {
		j.changed.Wait()
	}
	if len(j.pending) == 0 {
		j.running = false
		j.changed.Broadcast()
		return nil, datagram.Control{}, false
	}
	b, c = j.pending, j.control
	j.pending, j.spare = j.spare[:0], b
	j.sending = true
	if len(b) == c.Segment {
		c.Segment = 0
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
		route := p.route.Load()
		for _, path := range route.paths {
			p.sendPath(b, c, path, route) // an end of the socket is noticed by who writes next
		}
		if len(route.paths) == 0 { // it was, when this was written
			p.writeCarrier(b, c.Segment)
		}
	}
}
