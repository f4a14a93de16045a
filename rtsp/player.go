package rtsp

import (
	"bytes"
	"errors"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"peerway/rtsp/wire"
)

// idleAfter is how long a player's connection may be silent while it has no
// session.
const idleAfter = time.Minute

// lastWriteIn bounds a write that is under way, or left, when a connection is
// closed.
const lastWriteIn = 100 * time.Millisecond

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
			return newPlayerConn(c), nil
		}
		c.Close()
	}
}

// A playerConn is a player's connection. It ends when it is silent without
// having a session: gortsplib 4 has no such limit. It gathers the packets of a
// picture, which gortsplib writes one by one.
type playerConn struct {
	net.Conn
	out       *wire.Gatherer
	closing   atomic.Bool
	sessions  atomic.Int32 // that depend on this connection
	settingUp bool         // a SETUP is being handled; of the connection's goroutine
	pausing   bool         // a PAUSE, likewise
	unasked   bool         // a TEARDOWN of ours, likewise

	paused atomic.Pointer[string] // the session that has paused, until the player says something
	ahead  []byte                 // what Read returns before what comes; the reader's
	muted  atomic.Bool            // the next Write is an answer that nobody has asked for
}

func newPlayerConn(c net.Conn) *playerConn {
	p := &playerConn{Conn: c}
	p.out = wire.NewGatherer(outlet{p})
	return p
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

// Write implements [net.Conn]. It takes one message or one frame, whole, as
// gortsplib writes them.
func (c *playerConn) Write(p []byte) (int, error) {
	if len(p) > 0 && p[0] != '$' && c.muted.CompareAndSwap(true, false) {
		return len(p), nil
	}
	return c.out.Write(p)
}

// An outlet is the connection below a playerConn. Each write has its deadline.
type outlet struct{ *playerConn }

// Write implements [io.Writer].
func (o outlet) Write(p []byte) (int, error) {
	o.Conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if o.closing.Load() {
		o.Conn.SetWriteDeadline(time.Now().Add(lastWriteIn))
	}
	return o.Conn.Write(p)
}

// SetWriteDeadline does nothing: every write has the deadline that gortsplib
// would set, but not every packet costs it.
func (c *playerConn) SetWriteDeadline(time.Time) error { return nil }

// Close implements [net.Conn]. What is held back still goes out.
func (c *playerConn) Close() error {
	c.closing.Store(true) // before the deadline, which a write may be about to replace
	c.Conn.SetWriteDeadline(time.Now().Add(lastWriteIn))
	c.out.Close()
	return c.Conn.Close()
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
