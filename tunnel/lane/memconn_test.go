package lane_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// memBuffer is what one direction of a pair holds before Write waits.
const memBuffer = 256 << 10

var errReset = errors.New("byte stream reset")

// A half is one direction of a pair of byte streams.
type half struct {
	mu       sync.Mutex
	moved    sync.Cond
	data     bytes.Buffer
	limit    int
	ended    bool
	reset    bool
	deadline time.Time
}

func newHalf() *half {
	h := &half{limit: memBuffer}
	h.moved.L = &h.mu
	return h
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.reset:
			return 0, errReset
		case !h.deadline.IsZero() && time.Until(h.deadline) <= 0:
			return 0, os.ErrDeadlineExceeded
		case h.data.Len() > 0:
			h.moved.Broadcast()
			return h.data.Read(p)
		case h.ended:
			return 0, io.EOF
		}
		h.moved.Wait()
	}
}

func (h *half) write(p []byte) (n int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		switch {
		case h.reset:
			return n, errReset
		case h.ended:
			return n, io.ErrClosedPipe
		}
		k := max(0, min(len(p), h.limit-h.data.Len()))
		h.data.Write(p[:k])
		n += k
		p = p[k:]
		if k > 0 {
			h.moved.Broadcast()
		}
		if len(p) == 0 {
			return n, nil
		}
		h.moved.Wait()
	}
}

func (h *half) change(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
	h.moved.Broadcast()
}

// A memConn is one end of a pair of byte streams in memory.
type memConn struct{ in, out *half }

func memPair() (a, b *memConn) {
	x, y := newHalf(), newHalf()
	return &memConn{x, y}, &memConn{y, x}
}

func (c *memConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.write(p) }

func (c *memConn) CloseWrite() error {
	c.out.change(func() { c.out.ended = true })
	return nil
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.deadline = t })
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		time.AfterFunc(wait, func() { c.in.change(func() {}) })
	}
	return nil
}

func (c *memConn) Reset() {
	c.in.change(func() { c.in.reset = true })
	c.out.change(func() { c.out.reset = true })
}

// Close makes a memConn what raw yamux wants.
func (c *memConn) Close() error {
	c.Reset()
	return nil
}

// stall makes the reader's end of c take nothing from c any more.
func (c *memConn) stall() { c.out.change(func() { c.out.limit = 0 }) }
