package lane

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// readSize is the size of the read buffer of a lane: enough for many frames
// without a body, or for the beginning of one. The rest of a large body is read
// to where it stays.
const readSize = 4 << 10

// An inbox is what has arrived on a link and was not handled. It belongs to the
// goroutine that reads.
type inbox struct {
	buf   []byte
	start int // of what has arrived in buf
	end   int

	left  uint32 // bytes of the frame's body that are still to come
	id    uint32 // its stream
	head  [frameSize]byte
	ready []byte // part of head that yamux has not read
}

func (in *inbox) buffered() int { return in.end - in.start }

// Read gives yamux the next frames, all but those with data: these the link keeps
// for the reader of their stream. Only one goroutine, that of the session, calls
// it.
func (l *link) Read(p []byte) (int, error) {
	in := &l.in
	for len(in.ready) == 0 {
		if err := l.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.ready)
	in.ready = in.ready[n:]
	return n, nil
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
	case in.left > 0:
		return l.deliver()
	case in.buffered() >= frameSize:
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

// fill reads behind what is in the buffer, which is less than a header.
func (l *link) fill() error {
	in := &l.in
	in.end = copy(in.buf, in.buf[in.start:in.end])
	in.start = 0
	n, err := l.pull(in.buf[in.end:])
	in.end += n
	return err
}

// pull waits for bytes. It returns early, with none, when Read was woken.
func (l *link) pull(p []byte) (int, error) {
	n, err := l.conn.Read(p)
	switch {
	case n > 0:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		// The deadline is cleared before what it announces is looked for, so
		// that a deadline set in between is not lost.
		l.conn.SetReadDeadline(time.Time{})
		return 0, nil
	case err == io.EOF:
		l.mu.Lock()
		l.loseAll(io.ErrUnexpectedEOF)
		l.unlock()
		close(l.ended)
		return 0, err
	case err == nil:
		err = io.ErrNoProgress
	}
	l.fail(err)
	return 0, err
}
