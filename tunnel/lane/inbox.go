package lane

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Sizes of the read buffer of a lane: while little arrives, and while more does.
const (
	smallRead = 2 << 10
	bigRead   = 32 << 10
)

// An inbox is what has arrived on a link and what of it yamux reads next. It
// belongs to the goroutine that reads.
type inbox struct {
	buffers *sync.Pool // of *[]byte, bigRead long
	small   []byte
	big     *[]byte // from the pool, while more arrives than small holds
	buf     []byte  // one of the two
	start   int     // of what has arrived in buf
	end     int
	last    int // bytes that the last read brought

	left  uint32 // bytes of the frame's body that are still to come or to be handed over
	id    uint32 // its stream
	drop  bool   // nobody wants them
	head  [frameSize]byte
	ready []byte // part of head that yamux has not read
	body  int    // bytes in buf that yamux reads after it
}

func newRead() any {
	b := make([]byte, bigRead)
	return &b
}

func (in *inbox) buffered() int { return in.end - in.start }

// compact makes room to read into. It takes the big buffer when the small one
// was filled, and gives it back when little arrives.
func (in *inbox) compact() {
	if in.start < in.end { // a part of a header
		in.end = copy(in.buf, in.buf[in.start:in.end])
		in.start = 0
		return
	}
	in.start, in.end = 0, 0
	switch {
	case in.big == nil && in.last == len(in.buf):
		in.big = in.buffers.Get().(*[]byte)
		in.buf = *in.big
	case in.big != nil && in.last < smallRead:
		in.release()
	}
}

// release gives the big buffer back.
func (in *inbox) release() {
	if in.big != nil {
		in.buffers.Put(in.big)
		in.big, in.buf = nil, in.small
	}
}

// Read gives yamux the next frames. Only one goroutine, that of the session,
// calls it.
func (l *link) Read(p []byte) (int, error) {
	in := &l.in
	for {
		if len(in.ready) > 0 {
			n := copy(p, in.ready)
			in.ready = in.ready[n:]
			return n, nil
		}
		if in.body > 0 {
			n := copy(p, in.buf[in.start:in.start+in.body])
			in.start += n
			in.body -= n
			return n, nil
		}
		if err := l.next(); err != nil {
			in.release()
			return 0, err
		}
	}
}

// next handles what comes next: a frame of our own for yamux, a part of a body,
// a frame, or, if none of them is there, what the byte stream brings.
func (l *link) next() error {
	in := &l.in
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	if len(l.local) > 0 {
		in.emit(l.local[0])
		l.local = l.local[1:]
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	switch {
	case in.left > 0 && in.buffered() > 0:
		l.deliver()
		return nil
	case in.left == 0 && in.buffered() >= frameSize:
		f, err := parseFrame(in.buf[in.start:])
		in.start += frameSize
		if err == nil {
			err = l.receive(f)
		}
		if err != nil {
			l.fail(err)
		}
		return err
	}
	return l.fill()
}

// emit makes f what yamux reads next.
func (in *inbox) emit(f frame) { in.ready = f.appendTo(in.head[:0]) }

// fill waits for bytes. It returns early when Read was woken.
func (l *link) fill() error {
	in := &l.in
	in.compact()
	n, err := l.conn.Read(in.buf[in.end:])
	in.end += n
	switch {
	case n > 0:
		in.last = n
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		// The deadline is cleared before what it announces is looked for, so
		// that a deadline set in between is not lost.
		l.conn.SetReadDeadline(time.Time{})
		return nil
	case err == io.EOF:
		l.mu.Lock()
		l.loseAll(io.ErrUnexpectedEOF)
		l.unlock()
		close(l.ended)
		return err
	case err == nil:
		err = io.ErrNoProgress
	}
	l.fail(err)
	return err
}
