package pathsock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"peerway/signal/datagram"
)

// WriteMsgUDP sends a batch of packets to the peer whose fictitious address is
// addr, along its route. What the network or the kernel refuses on a path goes to
// the carrier instead or is lost, without an error: any error
// would end the QUIC connection. Packets for a peer that was closed are lost.
// Control messages other than the segment size and ECN are not followed.
func (s *Socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	id, ok := fictitiousID(addr)
	if !ok {
		return 0, 0, fmt.Errorf("pathsock: %v is not the address of a peer", addr)
	}
	if p := s.tables.peer(id); p != nil {
		err = p.write(b, datagram.ParseControl(oob))
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
func (p *Peer) write(b []byte, c datagram.Control) error {
	if c.Segment <= 0 || c.Segment >= len(b) {
		c.Segment = 0
	}
	route := p.route.Load()
	p.sentBytes.Add(uint64(len(b)))
	if err := p.writePaths(b, c, route); err != nil {
		return err
	}
	if route.Carrier {
		p.writeCarrier(b, c.Segment)
	}
	return nil
}

// writePaths sends b on all paths of the route, in one system call each if it can.
// What is refused there goes to the carrier, unless all of it does anyway.
func (p *Peer) writePaths(b []byte, c datagram.Control, route *routed) error {
	if len(route.paths) == 0 {
		return nil
	}
	now, narrow := p.socket.now(), [2]bool{}
	for i, path := range route.paths {
		path.sent.at.Store(now)
		path.sentAt.Store(now)
		narrow[i] = large(b, c) && !p.wide(path, now, len(b))
	}
	if narrow == [2]bool{} && p.joiner.put(b, c) {
		return nil
	}
	for i, path := range route.paths {
		send := p.sendPath
		if narrow[i] {
			send = p.writeNarrow
		}
		if err := send(b, c, path, route); err != nil {
			return err
		}
	}
	return nil
}

// sendPath sends a batch of its final size on a path.
func (p *Peer) sendPath(b []byte, c datagram.Control, path *path, route *routed) error {
	if c.Segment == 0 || !path.unsegmented.Load() {
		err := p.socket.send(b, c, path.way)
		switch {
		case err == nil:
			path.sent.packets.Add(uint64(c.Count(len(b))))
			return nil
		case tooLarge(err) && large(b, c):
			path.width.refused()
			return p.writeNarrow(b, c, path, route)
		case c.Segment == 0 || !datagram.Refused(err):
			return p.refused(err, b, c.Segment, route)
		}
		path.unsegmented.Store(true)
		p.socket.log.Debug("path takes no batches", "remote", path.to, "err", err)
	}
	for len(b) > 0 {
		n := min(len(b), c.Segment)
		err := p.socket.send(b[:n], datagram.Control{ECN: c.ECN}, path.way)
		if tooLarge(err) && large(b[:n], datagram.Control{}) {
			path.width.refused()
			return p.writeNarrow(b, c, path, route)
		}
		if err == nil {
			path.sent.packets.Add(1)
		} else if err := p.refused(err, b[:n], 0, route); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// wide reports whether a path carries the largest packets, and asks it when it is
// time to.
func (p *Peer) wide(path *path, now int64, bytes int) bool {
	wide, probe := path.width.look(time.Duration(now), bytes)
	if probe != 0 {
		p.probeWidth(probe, path.way)
	}
	return wide
}

// writeNarrow is sendPath for packets that may not fit.
func (p *Peer) writeNarrow(b []byte, c datagram.Control, path *path, route *routed) error {
	if err := p.writeParts(b, c, path); err != nil {
		return p.refused(err, b, c.Segment, route)
	}
	return nil
}

// large reports whether packets of b are too large for a narrow path.
func large(b []byte, c datagram.Control) bool {
	size := len(b)
	if c.Segment > 0 {
		size = c.Segment
	}
	return size > narrowSize && size <= maxPacket
}

// refused deals with packets that could not be sent on a path. It returns err if the
// socket itself is at its end.
func (p *Peer) refused(err error, b []byte, segment int, route *routed) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	p.sentErrors.Add(1)
	// A full queue of the interface is congestion, and loss is its signal. All
	// else says that this packet does not fit this path.
	if !route.Carrier && !congested(err) {
		p.writeCarrier(b, segment)
	}
	return nil
}

// writeCarrier gives the packets of b to the carrier, one by one.
func (p *Peer) writeCarrier(b []byte, segment int) {
	if p.carrier == nil {
		return
	}
	p.sent.carrier.at.Store(p.socket.now())
	if segment == 0 {
		segment = len(b)
	}
	for len(b) > 0 {
		n := min(len(b), segment)
		p.carrier.WritePacket(b[:n:n]) // an error is a loss, which QUIC notices
		p.sent.carrier.packets.Add(1)
		b = b[n:]
	}
}
