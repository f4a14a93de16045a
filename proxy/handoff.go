package proxy

import (
	"io"
	"net"
	"sync"
)

// A handoff is the net.Listener of one protocol: it hands out the connections
// that are given to it. It owns none: a connection belongs to the giver until
// Accept returns it.
type handoff struct {
	addr   net.Addr
	conns  chan net.Conn // never buffered: nothing can be forgotten in it
	closed chan struct{}
	once   sync.Once
}

func newHandoff(addr net.Addr) *handoff {
	return &handoff{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})}
}

// give waits until someone accepts c. It reports false if the handoff was
// closed before: then c still belongs to the caller.
func (h *handoff) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.closed:
		return false
	}
}

// Accept implements [net.Listener].
func (h *handoff) Accept() (net.Conn, error) {
	select {
	case <-h.closed:
		return nil, h.errClosed()
	default:
	}
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, h.errClosed()
	}
}

func (h *handoff) errClosed() error {
	return &net.OpError{Op: "accept", Net: h.addr.Network(), Addr: h.addr, Err: net.ErrClosed}
}

// Close implements [net.Listener]. It may be called again.
func (h *handoff) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements [net.Listener].
func (h *handoff) Addr() net.Addr { return h.addr }

// A sniffedConn is a TCP connection whose first bytes were read already and are
// read again.
type sniffedConn struct {
	*net.TCPConn
	head   []byte // not yet read again
	once   sync.Once
	closed func() // called once, when the connection is closed
}

// Read implements [net.Conn].
func (c *sniffedConn) Read(p []byte) (int, error) {
	if len(c.head) == 0 {
		return c.TCPConn.Read(p)
	}
	n := copy(p, c.head)
	c.consume(n)
	return n, nil
}

// WriteTo implements [io.WriterTo].
func (c *sniffedConn) WriteTo(w io.Writer) (int64, error) {
	var total int64
	if len(c.head) > 0 {
		n, err := w.Write(c.head)
		c.consume(n)
		total = int64(n)
		if err != nil {
			return total, err
		}
	}
	n, err := c.TCPConn.WriteTo(w)
	return total + n, err
}

// consume forgets the first n bytes of the head, and its memory at the end.
func (c *sniffedConn) consume(n int) {
	if c.head = c.head[n:]; len(c.head) == 0 {
		c.head = nil
	}
}

// Close closes the connection and frees its place in the listener.
func (c *sniffedConn) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(c.closed)
	return err
}
