package rtsp

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
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
	pausing   bool         // a PAUSE, likewise
	unasked   bool         // a TEARDOWN of ours, likewise

	paused atomic.Pointer[string] // the session that has paused, until the player says something
	ahead  []byte                 // what Read returns before what comes; the reader's
	muted  atomic.Bool            // the next Write is an answer that nobody has asked for
}

// Read implements [net.Conn].
func (c *playerConn) Read(p []byte) (int, error) {
	for {
		if len(c.ahead) > 0 {
			n := copy(p, c.ahead)
			c.ahead = c.ahead[n:]
			return n, nil
		}
		c.Conn.SetReadDeadline(time.Now().Add(idleAfter))
		n, err := c.Conn.Read(p)
		if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) && c.sessions.Load() > 0 {
			continue // it watches
		}
		if n > 0 {
			if session := c.paused.Swap(nil); session != nil && startsAnew(p[:n]) {
				c.ahead = slices.Concat(farewell(*session), p[:n])
				continue
			}
		}
		return n, err
	}
}

// Write implements [net.Conn].
func (c *playerConn) Write(p []byte) (int, error) {
	if c.muted.CompareAndSwap(true, false) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// ofOurs is the CSeq of a TEARDOWN that no player has sent.
const ofOurs = "peerway"

// farewell returns a TEARDOWN. A player to whom no UDP gets through pauses, and
// sets up a new session over TCP without ending the old one (ffmpeg does).
// gortsplib 4 takes that SETUP for one of the old session and refuses it.
func farewell(session string) []byte {
	return []byte("TEARDOWN rtsp://peerway/ RTSP/1.0\r\nCSeq: " + ofOurs + "\r\nSession: " + session + "\r\n\r\n")
}

// startsAnew reports whether a player that has paused asks for a new session.
func startsAnew(request []byte) bool {
	head, _, whole := bytes.Cut(request, []byte("\r\n\r\n"))
	return whole && bytes.HasPrefix(head, []byte("SETUP ")) && !bytes.Contains(bytes.ToLower(head), []byte("\r\nsession:"))
}

// SetReadDeadline does nothing: Read has its own deadlines, and gortsplib sets
// none but the zero one for players.
func (c *playerConn) SetReadDeadline(time.Time) error { return nil }
