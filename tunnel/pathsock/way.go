package pathsock

import (
	"net/netip"
	"sync/atomic"

	"peerway/signal/datagram"
	"peerway/signal/relay"
)

// A way is where packets for a peer are sent: to its own address; to a relay, which finds
// the peer by the session that goes before each packet; or, the zero way, to the carrier.
type way struct {
	to      netip.AddrPort
	session uint64 // 0: to is the peer's own
}

// A path is a way that packets of QUIC take, with what is known of it.
type path struct {
	way
	width       *width
	ping        ping
	unsegmented atomic.Bool  // it refuses UDP_SEGMENT
	sent        *outgoing    // where its packets are counted
	sentAt      atomic.Int64 // by Socket.now
}

func newPath(w way, sent *outgoing) *path { return &path{way: w, width: newWidth(), sent: sent} }

// send gives the kernel a batch for w.
func (s *Socket) send(b []byte, c datagram.Control, w way) error {
	if w.session == 0 {
		return datagram.Send(s.outlet(w.to), b, c, w.to)
	}
	return s.wrap(b, c, w.session, func(b []byte, c datagram.Control) error { return datagram.Send(s.conn, b, c, w.to) })
}

// wrap puts the header for a relay before each packet of a batch, and gives the result
// to send, in parts if it has become too large for one.
func (s *Socket) wrap(b []byte, c datagram.Control, session uint64, send func([]byte, datagram.Control) error) error {
	size := c.Segment
	if size == 0 {
		size = len(b)
	}
	space := s.wrapped.Get().(*[datagram.MaxBatch]byte)
	defer s.wrapped.Put(space)
	for len(b) > 0 {
		out := space[:0]
		for len(b) > 0 && len(out)+relay.HeaderSize+min(size, len(b)) <= len(space) {
			n := min(size, len(b))
			out = append(relay.AppendHeader(out, session), b[:n]...)
			b = b[n:]
		}
		if len(out) == 0 {
			return nil // no packet is that large
		}
		part := datagram.Control{ECN: c.ECN}
		if len(out) > relay.HeaderSize+size {
			part.Segment = relay.HeaderSize + size
		}
		if err := send(out, part); err != nil {
			return err
		}
	}
	return nil
}
