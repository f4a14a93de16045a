package pathsock

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// control is what QUIC asks for beside the packets, in control messages.
type control struct {
	segment int  // size of a packet in the batch; 0 means it is one packet
	ecn     byte // the two bits
}

// WriteMsgUDP sends a batch of packets to the peer whose fictitious address is
// addr, along its route. What the network or the kernel refuses on a direct
// path goes over the relay instead or is lost, without an error: any error
// would end the QUIC connection. Packets for a peer that was closed are lost.
// Control messages other than the segment size and ECN are not followed.
func (s *Socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	id, ok := fictitiousID(addr)
	if !ok {
		return 0, 0, fmt.Errorf("pathsock: %v is not the address of a peer", addr)
	}
	if p := s.tables.peer(id); p != nil {
		err = p.write(b, parseControl(oob))
	}
	if err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// WriteTo is WriteMsgUDP for one packet. The address must be a *net.UDPAddr.
func (s *Socket) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, _ := addr.(*net.UDPAddr)
	n, _, err := s.WriteMsgUDP(b, nil, to)
	return n, err
}

// write sends the packets of b along the route of the moment.
func (p *Peer) write(b []byte, c control) error {
	if c.segment <= 0 || c.segment >= len(b) {
		c.segment = 0
	}
	route := p.route.Load()
	p.sent.bytes.Add(uint64(len(b)))
	if route.Direct.IsValid() {
		if err := p.writeDirect(b, c, route); err != nil {
			return err
		}
	}
	if route.Relay {
		p.writeRelay(b, c.segment)
	}
	return nil
}

// writeDirect sends b to the peer's real address, in one system call if it
// can. What is refused there goes over the relay, unless all of it does anyway.
func (p *Peer) writeDirect(b []byte, c control, route *Route) error {
	now := p.socket.now()
	p.sent.sentDirect.Store(now)
	if large(b, c) && !p.wide(now, len(b)) {
		return p.writeNarrow(b, c, route)
	}
	if p.joiner.put(b, c) {
		return nil
	}
	return p.sendDirect(b, c, route)
}

// sendDirect is writeDirect once the batch has its final size.
func (p *Peer) sendDirect(b []byte, c control, route *Route) error {
	if c.segment == 0 || !p.unsegmented.Load() {
		err := p.socket.send(b, c, route.Direct)
		switch {
		case err == nil:
			p.sent.direct.Add(uint64(count(b, c.segment)))
			return nil
		case tooLarge(err) && large(b, c):
			p.width.Load().refused()
			return p.writeNarrow(b, c, route)
		case c.segment == 0 || !segmentRefused(err):
			return p.refused(err, b, c.segment, route)
		}
		p.unsegmented.Store(true)
		p.socket.log.Debug("direct path takes no batches", "remote", route.Direct, "err", err)
	}
	for len(b) > 0 {
		n := min(len(b), c.segment)
		err := p.socket.send(b[:n], control{ecn: c.ecn}, route.Direct)
		if tooLarge(err) && large(b[:n], control{}) {
			p.width.Load().refused()
			return p.writeNarrow(b, c, route)
		}
		if err == nil {
			p.sent.direct.Add(1)
		} else if err := p.refused(err, b[:n], 0, route); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// wide reports whether the direct path carries the largest packets, and asks it
// when it is time to.
func (p *Peer) wide(now int64, bytes int) bool {
	w := p.width.Load()
	wide, probe := w.look(time.Duration(now), bytes)
	if probe != 0 {
		p.socket.sendProbe(probe, w.path)
	}
	return wide
}

// writeNarrow is writeDirect for packets that may not fit.
func (p *Peer) writeNarrow(b []byte, c control, route *Route) error {
	if err := p.writeParts(b, c, route.Direct); err != nil {
		return p.refused(err, b, c.segment, route)
	}
	return nil
}

// large reports whether packets of b are too large for a narrow path.
func large(b []byte, c control) bool {
	size := len(b)
	if c.segment > 0 {
		size = c.segment
	}
	return size > narrowSize && size <= maxPacket
}

// refused deals with packets that could not be sent directly. It returns err
// if the socket itself is at its end.
func (p *Peer) refused(err error, b []byte, segment int, route *Route) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	p.sent.errors.Add(1)
	// A full queue of the interface is congestion, and loss is its signal. All
	// else says that this packet does not fit this path.
	if !route.Relay && !congested(err) {
		p.writeRelay(b, segment)
	}
	return nil
}

// writeRelay sends the packets of b over the relay, one by one.
func (p *Peer) writeRelay(b []byte, segment int) {
	if p.relay == nil {
		return
	}
	if segment == 0 {
		segment = len(b)
	}
	for len(b) > 0 {
		n := min(len(b), segment)
		p.relay.WritePacket(b[:n:n]) // an error is a loss, which QUIC notices
		p.sent.relay.Add(1)
		b = b[n:]
	}
}

// send gives the kernel a batch, for a real address.
func (s *Socket) send(b []byte, c control, to netip.AddrPort) error {
	var space [controlSpace]byte
	oob := appendControl(space[:0], c, to.Addr().Is4())
	_, _, err := s.conn.WriteMsgUDPAddrPort(b, oob, to)
	return err
}

// count returns how many packets of a size are in a batch; size 0 means that
// it is one.
func count(batch []byte, size int) int {
	if size <= 0 {
		return 1
	}
	return (len(batch) + size - 1) / size
}
