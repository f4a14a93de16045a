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
	dirty  bool // something was written and not flushed
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
		l.signals, l.chunks, l.last = nil, nil, nil
		l.signalBytes = 0
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
	case len(l.chunks) > 0:
		c := l.chunks[0]
		if l.chunks = l.chunks[1:]; len(l.chunks) == 0 {
			l.chunks = nil
		}
		l.mu.Unlock()
		d.writeFrames(c)
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

// writeFrames writes one chunk, so that a message never waits for more.
func (d *drainer) writeFrames(c *chunk) {
	for b := c.b[:c.n]; len(b) > 0; {
		n := 2 + int(binary.BigEndian.Uint16(b))
		d.write(websocket.BinaryMessage, b[2:n])
		b = b[n:]
	}
	d.link.buffers.pool.Put(c)
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
