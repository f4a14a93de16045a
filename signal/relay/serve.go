package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"peerway/signal/datagram"
)

// What one source address may ask without having proven anything, so that a forged
// source cannot be flooded with answers.
const (
	askPerSecond = 50
	askBurst     = 100
	maxSources   = 1 << 14
)

// socketBuffer is what the kernel may hold for the relay, in each direction.
const socketBuffer = 7 << 20

// A Server answers STUN and forwards packets between the ends of sessions, on one UDP
// socket.
type Server struct {
	forwarder *Forwarder // nil: it forwards nothing
	capacity  uint32     // Mbit/s
	load      atomic.Pointer[Load]
	loadedAt  time.Time
	sources   sources
	asked     sources // genuine questions for the load, as of one source
	out       []byte  // of answers
}

// NewServer returns a server for the grants of key, which says that it may forward
// capacity Mbit/s; nothing else keeps to that. It acquires nothing.
func NewServer(key Key, capacity uint32) *Server {
	return &Server{forwarder: NewForwarder(key), capacity: capacity}
}

// NewSTUNServer returns a server that forwards nothing. It acquires nothing.
func NewSTUNServer() *Server { return &Server{} }

// Load returns what the server has to do, as of a second ago or of the last packet.
func (s *Server) Load() Load {
	if l := s.load.Load(); l != nil {
		return *l
	}
	return Load{Capacity: s.capacity}
}

// measure takes note of what there is to do.
func (s *Server) measure(now time.Time) Load {
	l := s.forwarder.Load(now)
	l.Capacity = s.capacity
	s.load.Store(&l)
	s.loadedAt = now
	return l
}

// Serve serves conn until ctx is done, and returns its cause. Who asks to be answered
// from another port is answered from other; nil: such questions are not answered. It
// borrows both, and leaves the read deadline of conn in the past. It is called once.
func (s *Server) Serve(ctx context.Context, conn, other *net.UDPConn) error {
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn.SetReadBuffer(socketBuffer) // the kernel may grant less
	conn.SetWriteBuffer(socketBuffer)
	datagram.Prepare(conn)
	datagram.TellLocal(conn)
	in, err := datagram.NewReceiver(conn)
	if in == nil {
		return fmt.Errorf("relay: %w", err)
	}
	for failures := 0; ; {
		received, err := in.Receive(func() bool { return true })
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("relay: %w", err)
		case err != nil: // an ICMP error of an earlier answer, on some systems
			if failures++; failures > 1000 {
				return fmt.Errorf("relay: %w", err)
			}
			continue
		}
		failures = 0
		now := time.Now()
		for i := range received {
			s.serve(conn, other, &received[i], now)
		}
		if s.forwarder != nil {
			s.forwarder.Sweep(now)
			if now.Sub(s.loadedAt) >= time.Second {
				s.measure(now)
			}
		}
	}
}

// serve takes what the kernel gave in one piece.
func (s *Server) serve(conn, other *net.UDPConn, d *datagram.Datagram, now time.Time) {
	for len(d.Data) > 0 {
		if s.forwarder != nil && IsPacket(d.First()) {
			s.forward(conn, d, now)
			continue
		}
		packet, ok := d.Cut(), false
		answer := Delivery{To: d.From}
		switch {
		case s.forwarder != nil && len(packet) > 0 && packet[0] == typeBind:
			if !s.forwarder.Knows(packet, d.From) && !s.sources.allow(d.From.Addr(), now) {
				continue
			}
			s.out, ok = s.forwarder.Bind(s.out[:0], packet, Line{d.From, d.Local}, now)
		case s.forwarder != nil && len(packet) == loadSize && packet[0] == typeAsk:
			// Not limited by where it seems to come from, as anybody can seem to be a signal
			// server: only who has the key gets further.
			if ok = s.forwarder.key.signed(packet, typeAsk) && s.asked.allow(netip.Addr{}, now); ok {
				s.out, ok = s.forwarder.key.appendLoad(s.out[:0], packet, s.measure(now), now)
			}
		default:
			s.out, answer, ok = AppendSTUN(s.out[:0], packet, d.From)
			ok = ok && s.sources.allow(d.From.Addr(), now)
		}
		out := conn
		if answer.Elsewhere {
			out = other
		}
		if ok && out != nil { // an answer that cannot be sent is a lost packet, and clients repeat
			datagram.SendFrom(out, s.out, datagram.Control{}, d.Local, answer.To)
		}
	}
}

// forward sends the packets at the beginning of d that belong to one session on, as
// they are: the header is the same for both ends.
func (s *Server) forward(conn *net.UDPConn, d *datagram.Datagram, now time.Time) {
	session, _ := SplitPacket(d.Data)
	batch, rest := d.Data, d.Data[len(d.Data):]
	c := datagram.Control{ECN: d.ECN}
	if d.Segment > 0 && d.Segment < len(batch) {
		c.Segment = d.Segment
		for at := d.Segment; at < len(batch); at += d.Segment {
			next := batch[at:min(at+d.Segment, len(batch))]
			if !IsPacket(next) || [8]byte(next[1:]) != [8]byte(batch[1:]) {
				batch, rest = batch[:at], batch[at:]
				break
			}
		}
	}
	d.Data = rest
	if c.Segment >= len(batch) {
		c.Segment = 0
	}
	if (c.Segment == 0 && len(batch) > HeaderSize+MaxPacket) || c.Segment > HeaderSize+MaxPacket {
		return
	}
	to, ok := s.forwarder.Forward(session, d.From, len(batch), now)
	if !ok {
		s.tellSpent(conn, session, now)
		return
	}
	if err := datagram.SendFrom(conn, batch, c, to.Local, to.Remote); c.Segment == 0 || !datagram.Refused(err) {
		return // what cannot be sent is lost, as anywhere on the way
	}
	for c = (datagram.Control{ECN: d.ECN}); len(batch) > 0; { // no batches on this path
		n := min(len(batch), max(d.Segment, 1))
		datagram.SendFrom(conn, batch[:n], c, to.Local, to.Remote)
		batch = batch[n:]
	}
}

// tellSpent tells the ends of a session that the quota is used up, if that is so.
func (s *Server) tellSpent(conn *net.UDPConn, session uint64, now time.Time) {
	for end := range uint8(2) {
		var to Line
		var ok bool
		if s.out, to, ok = s.forwarder.Spent(s.out[:0], session, end, now); ok {
			datagram.SendFrom(conn, s.out, datagram.Control{}, to.Local, to.Remote)
		}
	}
}

// sources limits how often each address is answered.
type sources struct {
	buckets map[netip.Addr]bucket
	swept   time.Time
}

// A bucket holds tokens as of a moment.
type bucket struct {
	tokens float64
	at     time.Time
}

func (s *sources) allow(from netip.Addr, now time.Time) bool {
	if from = from.Unmap(); from.Is6() { // a host has all of these
		if network, err := from.Prefix(64); err == nil {
			from = network.Addr()
		}
	}
	if s.buckets == nil || now.Sub(s.swept) > time.Minute || len(s.buckets) >= maxSources {
		// Starting over forgets everybody's excess: a minute of it, or what many sources
		// have had to be forged for.
		s.buckets, s.swept = make(map[netip.Addr]bucket), now
	}
	b, known := s.buckets[from]
	if !known {
		b = bucket{tokens: askBurst, at: now}
	}
	b.tokens = min(askBurst, b.tokens+now.Sub(b.at).Seconds()*askPerSecond)
	b.at = now
	ok := b.tokens >= 1
	if ok {
		b.tokens--
	}
	s.buckets[from] = b
	return ok
}
