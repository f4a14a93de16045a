package proxy

import (
	"context"
	"net"
)

// A Conn is a connection whose two directions can end separately: CloseWrite
// ends the outgoing one and leaves the incoming one open.
type Conn interface {
	net.Conn
	CloseWrite() error
}

// A Class says how a stream is carried.
type Class uint8

const (
	Mixed     Class = iota // shares lanes: HTTP and other small exchanges
	Dedicated              // has a lane of its own: live video
)

// A Target names a service of a peer.
type Target struct {
	Peer    string // display name of the peer
	Service string // name the peer exposes it under
}

// String returns PEER/SERVICE.
func (t Target) String() string { return t.Peer + "/" + t.Service }

// A Dialer opens a connection to a service of a remote peer. The caller closes
// the connection. The answer of the peer may come after DialContext has
// returned: then Read reports it. Errors for which a person can do something
// are, or wrap, an [*Error].
//
// A connection that has a method Reset() ends abruptly by it; see [Abort]. One that
// has a method Heard() time.Time says when the peer was heard last, whatever it said,
// to a second if it is called each second: so one knows whether it is the service that
// is silent, or the way to it.
type Dialer interface {
	DialContext(ctx context.Context, target Target, class Class) (Conn, error)
}

// Abort marks c as broken, so that the other end does not take the Close that
// follows for a proper end: a TCP connection will be reset, a connection with a
// method Reset() is reset now, any other is left as it is. Abort borrows c: the
// owner still closes it.
func Abort(c net.Conn) {
	switch c := c.(type) {
	case interface{ Reset() }:
		c.Reset()
	case interface{ SetLinger(sec int) error }:
		c.SetLinger(0) // fails only on a connection that has ended already
	case interface{ NetConn() net.Conn }: // TLS
		Abort(c.NetConn())
	}
}
