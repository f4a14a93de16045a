package pathsock

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv4"

	"peerway/signal/datagram"
	"peerway/signal/relay"
)

// An arrival is a datagram and whose it is.
type arrival struct {
	datagram.Datagram
	peer *Peer // nil for a stranger, and for a relay: its packets may be of several peers
}

// A receiver gets datagrams from the kernel.
type receiver interface {
	// Receive returns what has arrived, valid until the next call. It calls
	// wait before it blocks and does not block if that reports false; it may
	// then return nothing.
	Receive(wait func() bool) ([]datagram.Datagram, error)
}

// reader is the state of the one goroutine that reads.
type reader struct {
	from     receiver
	received []arrival // from the kernel, not handed over yet
	space    []arrival // of received
	injected []*packet // from the queue; those before handed are handed over
	handed   int
	at       int64       // Socket.now when they were
	waiting  func() bool // Socket.wait, bound once
	gatherer gatherer
	one      [1]ipv4.Message
}

// ReadBatch fills ms with the next QUIC packets of known peers, each under its
// peer's fictitious address, and blocks until there is one. A packet's ECN
// field is in its OOB, as an IPv6 control message. It returns an error only
// when reading is over: the socket is closed, or the read deadline has passed.
func (s *Socket) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	if len(ms) == 0 {
		return 0, nil
	}
	for {
		n, full := s.handOverReceived(ms)
		if full == nil {
			var more int
			more, full = s.handOverInjected(ms[n:])
			n += more
		}
		switch {
		case n > 0:
			return n, nil
		case full != nil:
			full.backlog.wait()
		default:
			if err := s.fetch(); err != nil {
				return 0, err
			}
		}
	}
}

// ReadFrom reads one packet like ReadBatch, for a QUIC that does not know
// batches.
func (s *Socket) ReadFrom(b []byte) (int, net.Addr, error) {
	ms := s.reader.one[:]
	ms[0].Buffers = append(ms[0].Buffers[:0], b)
	if _, err := s.ReadBatch(ms, 0); err != nil {
		return 0, nil, err
	}
	return ms[0].N, ms[0].Addr, nil
}

// ReadMsgUDP is ReadFrom: it reports no control messages.
func (s *Socket) ReadMsgUDP(b, _ []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	n, from, err := s.ReadFrom(b)
	if err != nil {
		return 0, 0, 0, nil, err
	}
	return n, 0, 0, from.(*net.UDPAddr), nil
}

// fetch gets more packets, from the carriers first and then from the kernel, so
// that neither waits for the other. Both are empty when it is called.
func (s *Socket) fetch() error {
	r := &s.reader
	if !s.in.empty() {
		r.injected, r.handed = s.in.take(r.injected), 0
	}
	if r.waiting == nil {
		r.waiting = s.wait
	}
	if d := r.gatherer.pause(s.now()); d > 0 && s.in.empty() {
		time.Sleep(d) // a millisecond at most
	}
	received, err := r.from.Receive(r.waiting)
	s.parked.Store(false)
	switch {
	case err == nil:
		s.account(received)
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		if s.awoken() {
			return err
		}
		return nil
	case transient(err):
		return nil
	}
	return err
}

// wait reports whether the reader may block. After it has, wake ends it.
func (s *Socket) wait() bool {
	if s.reader.handed < len(s.reader.injected) {
		return false
	}
	s.parked.Store(true)
	if s.in.empty() { // after parked, as push comes before the look at parked
		return true
	}
	s.parked.Store(false)
	return false
}

// account finds out whose the datagrams are, and counts them.
func (s *Socket) account(received []datagram.Datagram) {
	r := &s.reader
	r.received = r.space[:0]
	if len(received) == 0 {
		return
	}
	r.at = s.now()
	packets, bytes, patience := 0, 0, int64(0)
	for i := range received {
		a := arrival{Datagram: received[i]}
		a.peer = s.tables.source(a.From)
		r.received = append(r.received, a)
		of, header := a.peer, 0
		if of == nil {
			of, header = s.relayed(a.First(), a.From), relay.HeaderSize
		}
		if of == nil || !isQUIC(a.Data[header:]) && !isPart(a.Data[header:]) {
			continue
		}
		n := datagram.Control{Segment: a.Segment}.Count(len(a.Data))
		packets += n
		bytes += len(a.Data)
		if d := of.patience.Load(); i == 0 || d < patience {
			patience = d
		}
		if a.peer != nil {
			of.received.direct.count(r.at, n, len(a.Data))
		}
	}
	r.space = r.received
	r.gatherer.count(r.at, packets, bytes, patience)
}

// relayed returns the peer that a packet from a relay on UDP belongs to, or nil.
func (s *Socket) relayed(packet []byte, from netip.AddrPort) *Peer {
	if !relay.IsPacket(packet) {
		return nil
	}
	session, _ := relay.SplitPacket(packet)
	p := s.tables.session(session)
	if p == nil || p.inlet(from) == nil {
		return nil
	}
	return p
}

// handOverReceived fills ms with packets from the kernel and gives away what is
// neither QUIC nor of a path. It returns how many it filled, and the peer, if there
// is one, whose packets QUIC has enough of.
func (s *Socket) handOverReceived(ms []ipv4.Message) (n int, full *Peer) {
	r := &s.reader
	for n < len(ms) && len(r.received) > 0 {
		a := &r.received[0]
		if len(a.Data) == 0 {
			r.received = r.received[1:]
			continue
		}
		peer, over := a.peer, uint64(0)
		if peer == nil {
			if peer = s.relayed(a.First(), a.From); peer != nil {
				over = peer.session
			}
		}
		if peer != nil && peer.backlog.full() {
			return n, peer
		}
		packet := a.Cut()
		if over != 0 {
			_, packet = relay.SplitPacket(packet)
			if isQUIC(packet) || isPart(packet) {
				peer.received.relay.count(r.at, 1, len(packet))
				if in := peer.inlet(a.From); in != nil {
					in.at.Store(r.at)
				}
			}
		}
		switch {
		case !isQUIC(packet):
			if peer != nil && isPath(packet) {
				whole := s.hearPath(peer, packet, way{a.From, over})
				if whole != nil && put(&ms[n], whole, peer, a.ECN) {
					n++
				}
			} else if s.other != nil && over == 0 {
				s.other(packet, a.From)
			}
		case peer == nil:
			s.strangers.Add(1)
		case put(&ms[n], packet, peer, a.ECN):
			n++
		}
	}
	return n, nil
}

// handOverInjected fills ms with packets from carriers and outlets, and returns the
// same.
func (s *Socket) handOverInjected(ms []ipv4.Message) (n int, full *Peer) {
	r := &s.reader
	for n < len(ms) && r.handed < len(r.injected) {
		k := r.injected[r.handed]
		if !k.peer.closed.Load() && k.peer.backlog.full() {
			return n, k.peer
		}
		packet := k.bytes()
		if isPath(packet) {
			packet = s.hearPath(k.peer, packet, k.from)
		}
		if !k.peer.closed.Load() && len(packet) > 0 && put(&ms[n], packet, k.peer, k.ecn) {
			n++
		}
		s.in.release(k)
		r.injected[r.handed] = nil
		r.handed++
	}
	return n, nil
}

// put copies a packet into m, unless it is larger than any packet of QUIC.
func put(m *ipv4.Message, packet []byte, from *Peer, ecn byte) bool {
	if len(packet) > len(m.Buffers[0]) {
		return false
	}
	m.N = copy(m.Buffers[0], packet)
	m.NN = datagram.PutECN(m.OOB, ecn)
	m.Addr = from.addr
	m.Flags = 0
	from.backlog.give(m.N)
	return true
}

// isPath reports whether packet is about the path itself.
func isPath(packet []byte) bool {
	return len(packet) > 0 && packet[0] >= typeProbe && packet[0] <= typePart
}

// isPart reports whether packet is a part of one of QUIC.
func isPart(packet []byte) bool { return len(packet) > 0 && packet[0] == typePart }

// isQUIC tells QUIC from all else: the first two bits of a QUIC packet are not
// both zero (RFC 9443).
func isQUIC(packet []byte) bool { return len(packet) > 0 && packet[0]&0xc0 != 0 }
