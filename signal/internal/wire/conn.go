package wire

import (
	"net"
	"sync"
	"time"
)

// flushAt is how much is collected before it is written: one TLS record.
const flushAt = 16 << 10

// A Conn collects what the websocket writes, so that a burst of relay frames
// costs one TLS record and one system call for every ten of them. It is
// transparent until [NewLink] takes it.
type Conn struct {
	net.Conn // TLS, already shaken hands

	mu      sync.Mutex
	holding bool
	timeout time.Duration // of one write
	held    []byte
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
	_, err := c.Conn.Write(c.held)
	c.held = c.held[:0]
	return err
}

// shrink gives the buffer of a burst back.
func (c *Conn) shrink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cap(c.held) > 4<<10 && len(c.held) == 0 {
		c.held = nil
	}
}
