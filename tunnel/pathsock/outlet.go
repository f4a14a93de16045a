package pathsock

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"peerway/signal/datagram"
)

// outlets are other sockets by which single addresses are reached. Some NATs give each
// destination another port, so that a peer may have found one that leads to another
// socket than the common one. Lookups take no lock.
type outlets struct {
	mu   sync.Mutex // serializes changes
	byTo atomic.Pointer[map[netip.AddrPort]*net.UDPConn]
}

// outletBuffer is what the kernel may hold for an outlet, in each direction: as much as
// QUIC asks for on the common socket.
const outletBuffer = 7 << 20

// set makes conn the outlet to an address, or no longer if not on and no other one has
// taken its place.
func (o *outlets) set(to netip.AddrPort, conn *net.UDPConn, on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := map[netip.AddrPort]*net.UDPConn{}
	if now := o.byTo.Load(); now != nil {
		maps.Copy(next, *now)
	}
	switch {
	case on:
		next[to] = conn
	case next[to] == conn:
		delete(next, to)
	}
	if len(next) == 0 {
		o.byTo.Store(nil)
		return
	}
	o.byTo.Store(&next)
}

// outlet returns the socket by which a peer at an address is reached.
func (s *Socket) outlet(to netip.AddrPort) *net.UDPConn {
	if now := s.outlets.byTo.Load(); now != nil {
		if conn := (*now)[to]; conn != nil {
			return conn
		}
	}
	return s.conn
}

// ServeOutlet reaches an address by conn instead of the common socket, and takes what
// comes from there as if it had come to that, until ctx is done, and returns its cause,
// or until conn breaks. It borrows conn and leaves its read deadline in the past. One
// address has one outlet at a time: the newest. What goes through a relay there leaves by
// the common socket all the same: the relay knows that.
func (s *Socket) ServeOutlet(ctx context.Context, conn *net.UDPConn, to netip.AddrPort) error {
	to = unmap(to)
	past := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.SetReadDeadline(time.Unix(1, 0))
		close(past)
	})
	defer func() {
		if !stop() {
			<-past // else it might come when somebody else reads
		}
	}()
	conn.SetReadBuffer(outletBuffer) // the kernel may grant less
	conn.SetWriteBuffer(outletBuffer)
	datagram.Prepare(conn)
	in, err := datagram.NewReceiver(conn)
	if in == nil {
		return fmt.Errorf("pathsock: outlet: %w", err)
	}
	s.outlets.set(to, conn, true)
	defer s.outlets.set(to, conn, false)
	for {
		received, err := in.Receive(func() bool { return true })
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !transient(err):
			return fmt.Errorf("pathsock: outlet: %w", err)
		}
		for i := range received {
			if received[i].From == to {
				s.takeFromOutlet(&received[i])
			}
		}
	}
}

// takeFromOutlet gives the packets of d to whom they are for.
func (s *Socket) takeFromOutlet(d *datagram.Datagram) {
	peer := s.tables.source(d.From)
	for len(d.Data) > 0 {
		packet := d.Cut()
		switch {
		case !isQUIC(packet) && !isPath(packet):
			if s.other != nil {
				s.other(packet, d.From)
			}
		case peer == nil || len(packet) > maxPacket:
			s.strangers.Add(1)
		case s.in.push(peer, packet, way{to: d.From}, d.ECN):
			if !isPath(packet) || isPart(packet) {
				peer.received.direct.count(s.now(), 1, len(packet))
			}
			s.wake()
		default:
			peer.dropped.Add(1)
		}
	}
}
