package rtsp

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// idleAfter is how long a player's connection may be silent while it has no
// session.
const idleAfter = time.Minute

// A playerListener gives gortsplib connections that it can use, and tells when
// there will be no more.
type playerListener struct {
	net.Listener
	failed chan error // one error of Accept; buffered
}

// Accept returns the next connection. gortsplib panics on one whose remote
// address is not a TCP address, so such a connection is closed.
func (l *playerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.failed <- err:
			default:
			}
			return nil, err
		}
		if _, ok := c.RemoteAddr().(*net.TCPAddr); ok {
			return &playerConn{Conn: c}, nil
		}
		c.Close()
	}
}

// A playerConn is a player's connection. It ends when it is silent without
// having a session: gortsplib 4 has no such limit.
type playerConn struct {
	net.Conn
	sessions  atomic.Int32 // that depend on this connection
	settingUp bool         // a SETUP is being handled; of the connection's goroutine
}

// Read implements [net.Conn].
func (c *playerConn) Read(p []byte) (int, error) {
	for {
		c.Conn.SetReadDeadline(time.Now().Add(idleAfter))
		n, err := c.Conn.Read(p)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.sessions.Load() > 0 {
			continue // it watches
		}
		return n, err
	}
}

// SetReadDeadline does nothing: Read has its own deadlines, and gortsplib sets
// none but the zero one for players.
func (c *playerConn) SetReadDeadline(time.Time) error { return nil }
