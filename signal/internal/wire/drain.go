package wire

import (
	"encoding/binary"

	"github.com/gorilla/websocket"
)

// drain writes what is queued and returns when there is nothing left, or when
// the connection fails. It closes a connection that fails, which ends Read.
func (l *Link) drain() {
	d := drainer{link: l}
	for d.step() {
	}
	if d.err != nil {
		l.conn.Close()
	}
}

// A drainer is the state of one run of drain.
type drainer struct {
	link   *Link
	chunk  []byte // what is left of the relay frames taken from the queue
	buffer []byte // the whole of them
	dirty  bool   // something was written and not flushed
	closed bool
	err    error
}

// step does the most urgent thing. It reports false when there is none, and the
// link knows that the drainer is gone.
func (d *drainer) step() bool {
	l := d.link
	l.mu.Lock()
	switch {
	case d.err != nil:
		l.shut = true
		l.signals, l.frames, l.last = nil, nil, nil
		l.signalBytes, l.frameBytes = 0, 0
		// draining stays true: nobody starts another one on a failed connection.
		l.mu.Unlock()
		return false
	case l.pong != nil:
		pong := l.pong
		l.pong = nil
		l.mu.Unlock()
		d.write(websocket.PongMessage, pong)
	case len(l.signals) > 0:
		signals := l.signals
		l.signals, l.signalBytes = nil, 0
		l.mu.Unlock()
		for _, msg := range signals {
			d.write(websocket.BinaryMessage, msg)
		}
	case l.wantMore:
		l.wantMore = false
		l.mu.Unlock()
		d.writeMore()
	case len(d.chunk) > 0:
		if l.shut { // Finish dropped them
			d.chunk = nil
			l.mu.Unlock()
			return true
		}
		l.mu.Unlock()
		d.writeFrames()
	case len(l.frames) > 0:
		d.chunk, d.buffer = l.frames, l.frames
		l.frames, l.spare = l.spare[:0], nil
		l.mu.Unlock()
	case l.last != nil && !d.closed:
		l.mu.Unlock()
		d.closed = true
		d.write(websocket.CloseMessage, l.last)
	case d.dirty:
		l.mu.Unlock()
		d.dirty = false
		d.fail(l.conn.Flush())
	default:
		l.draining = d.closed // after the close frame nothing is written
		l.mu.Unlock()
		l.conn.shrink()
		return false
	}
	return true
}

func (d *drainer) writeMore() {
	for d.err == nil {
		msg := d.link.more()
		if msg == nil {
			return
		}
		d.write(websocket.BinaryMessage, msg)
	}
}

// writeFrames writes about as many frames as are flushed at once, so that a
// message never waits for more.
func (d *drainer) writeFrames() {
	written := 0
	for len(d.chunk) > 0 && written < flushAt && d.err == nil {
		n := int(binary.BigEndian.Uint16(d.chunk))
		d.write(websocket.BinaryMessage, d.chunk[2:2+n])
		d.chunk = d.chunk[2+n:]
		written += 2 + n
	}
	l := d.link
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frameBytes = max(0, l.frameBytes-written)
	if len(d.chunk) == 0 && cap(d.buffer) <= 64<<10 { // the buffer of a larger burst goes
		l.spare = d.buffer[:0]
	}
}

func (d *drainer) write(kind int, b []byte) {
	if d.err == nil {
		d.dirty = true
		d.fail(d.link.ws.WriteMessage(kind, b))
	}
}

func (d *drainer) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}
