package wire

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// flushAt is how much is collected before it is written: one TLS record.
const flushAt = 16 << 10

// maxUnsent is what the kernel may hold of what it cannot send yet.
const maxUnsent = 128 << 10

// maxRetry is how long the kernel may wait before it sends again.
const maxRetry = 2 * time.Second

// A Conn collects what the websocket writes, so that a burst of relay frames
// costs one TLS record and one system call for every ten of them. It is
// transparent until [NewLink] takes it.
type Conn struct {
	net.Conn // TLS, already shaken hands

	final atomic.Int64 // when everything must be written, Unix nanoseconds; 0 is never

	mu      sync.Mutex
	holding bool
	timeout time.Duration // of one write
	held    []byte
}

// ConnectionState returns the state of TLS. It reports false if there is none.
func (c *Conn) ConnectionState() (tls.ConnectionState, bool) {
	t, ok := c.Conn.(*tls.Conn)
	if !ok {
		return tls.ConnectionState{}, false
	}
	return t.ConnectionState(), true
}

// Write implements [net.Conn].
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.holding {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	if len(c.held) < flushAt {
		return len(p), nil
	}
	return len(p), c.flush()
}

// hold starts collecting.
func (c *Conn) hold(timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holding, c.timeout = true, timeout
	if t, ok := c.Conn.(*tls.Conn); ok {
		setOptions(t.NetConn(), maxUnsent, maxRetry)
	}
}

// Flush writes what was collected.
func (c *Conn) Flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.flush()
}

func (c *Conn) flush() error {
	if len(c.held) == 0 {
		return nil
	}
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return err
	}
	if final := c.final.Load(); final != 0 { // after, because finish may come in between
		c.Conn.SetWriteDeadline(time.Unix(0, final))
	}
	_, err := c.Conn.Write(c.held)
	c.held = c.held[:0]
	return err
}

// finish makes all reads and writes end at a time, also those that block now.
func (c *Conn) finish(at time.Time) {
	c.final.Store(at.UnixNano())
	c.Conn.SetDeadline(at)
}

// Close implements [net.Conn]. It says no goodbye in TLS, which could block: the
// websocket has its own.
func (c *Conn) Close() error {
	if t, ok := c.Conn.(*tls.Conn); ok {
		return t.NetConn().Close()
	}
	return c.Conn.Close()
}

// shrink gives the buffer of a burst back.
func (c *Conn) shrink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cap(c.held) > 4<<10 && len(c.held) == 0 {
		c.held = nil
	}
}
