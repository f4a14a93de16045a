package pathsock

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// A Relay carries packets to a peer when no direct path does.
type Relay interface {
	// WritePacket sends one QUIC packet, which it borrows until it returns. It
	// must not block, and may be called from several goroutines. An error is
	// the loss of the packet, nothing more.
	WritePacket(p []byte) error
}

// A Route says where the packets for a peer go. With both fields set each
// packet goes both ways; with none it is lost.
type Route struct {
	Direct netip.AddrPort // the peer's real address; invalid means no direct path
	Relay  bool
}

// Stats is what a Peer has counted. Bytes are those of QUIC packets, without
// headers below; a packet that goes both ways counts once in bytes.
type Stats struct {
	BytesIn, BytesOut   uint64
	DirectIn, DirectOut uint64 // packets
	RelayIn, RelayOut   uint64 // packets
	Dropped             uint64 // packets from the relay that found the queue full
	SendErrors          uint64 // direct sends that the kernel refused

	HeardDirect time.Time // last packet from an authenticated source; zero is never
	HeardRelay  time.Time // last packet from the relay
	SentDirect  time.Time // last attempt to send on the direct path
}

// A Peer is one remote process, under one address for as long as it is known.
// All methods are safe for concurrent use.
type Peer struct {
	socket *Socket
	relay  Relay
	id     uint64
	addr   *net.UDPAddr

	route       atomic.Pointer[Route]
	unsegmented atomic.Bool           // the direct path refuses UDP_SEGMENT
	width       atomic.Pointer[width] // of the direct path; nil if there never was one
	numbered    atomic.Uint32         // packets that were sent in parts
	parts       parts                 // belongs to the goroutine that reads
	echoes      echoes
	joiner      joiner
	closed      atomic.Bool
	patience    atomic.Int64 // nanoseconds
	backlog     backlog
	queued      int // packets in the socket's queue, guarded by its lock

	received received
	_        [64]byte // the reader and the writer count in different cache lines
	sent     sent
}

type received struct {
	bytes, direct, relay, dropped atomic.Uint64
	heardDirect, heardRelay       atomic.Int64 // by Socket.now
}

type sent struct {
	bytes, direct, relay, errors atomic.Uint64
	sentDirect                   atomic.Int64 // by Socket.now
}

// Add makes a peer known, under a new fictitious address, with everything
// going over relay. It borrows relay until the peer is closed; nil loses what
// is sent over it. The caller closes the peer.
func (s *Socket) Add(relay Relay) *Peer {
	p := &Peer{socket: s, relay: relay}
	p.backlog.moved = make(chan struct{}, 1)
	p.joiner.changed.L = &p.joiner.mu
	p.route.Store(&Route{Relay: true})
	s.tables.add(p)
	return p
}

// Addr returns the fictitious address by which QUIC knows the peer.
func (p *Peer) Addr() *net.UDPAddr { return p.addr }

// SetRoute sends everything from now on along r. It does not make Direct an
// authenticated source.
func (p *Peer) SetRoute(r Route) {
	if r.Direct.IsValid() {
		r.Direct = unmap(r.Direct)
	}
	if w := p.width.Load(); r.Direct.IsValid() && (w == nil || w.path != r.Direct) {
		p.width.Store(newWidth(r.Direct)) // before the route: write looks for it
	}
	if old := p.route.Swap(&r); old.Direct != r.Direct {
		p.unsegmented.Store(false)
	}
}

// Authenticate lets QUIC packets from source count as this peer's. ICE has
// proven before that source is the peer.
func (p *Peer) Authenticate(source netip.AddrPort) {
	p.socket.tables.authenticate(p, unmap(source))
}

// Forget undoes Authenticate.
func (p *Peer) Forget(source netip.AddrPort) {
	p.socket.tables.forget(p, unmap(source))
}

// Inject hands QUIC a packet of this peer that came over the relay. It copies
// the packet and never blocks: while the queue is full, packets are dropped.
func (p *Peer) Inject(packet []byte) {
	if p.closed.Load() || !isQUIC(packet) || len(packet) > maxPacket {
		return
	}
	if !p.socket.in.push(p, packet) {
		p.received.dropped.Add(1)
		return
	}
	p.received.bytes.Add(uint64(len(packet)))
	p.received.relay.Add(1)
	p.received.heardRelay.Store(p.socket.now())
	p.socket.wake()
}

// SetPatience says how long packets of the peer may gather before they are read.
func (p *Peer) SetPatience(d time.Duration) { p.patience.Store(int64(d)) }

// Stats returns what has been counted so far.
func (p *Peer) Stats() Stats {
	return Stats{
		BytesIn:     p.received.bytes.Load(),
		BytesOut:    p.sent.bytes.Load(),
		DirectIn:    p.received.direct.Load(),
		DirectOut:   p.sent.direct.Load(),
		RelayIn:     p.received.relay.Load(),
		RelayOut:    p.sent.relay.Load(),
		Dropped:     p.received.dropped.Load(),
		SendErrors:  p.sent.errors.Load(),
		HeardDirect: p.socket.time(&p.received.heardDirect),
		HeardRelay:  p.socket.time(&p.received.heardRelay),
		SentDirect:  p.socket.time(&p.sent.sentDirect),
	}
}

// Close forgets the peer. Packets for it and from it are dropped from now on,
// but for those that are being written at this moment.
func (p *Peer) Close() {
	p.closed.Store(true)
	p.socket.tables.remove(p)
}

// time returns a recorded time, with its monotonic reading.
func (s *Socket) time(recorded *atomic.Int64) time.Time {
	if d := recorded.Load(); d != 0 {
		return s.start.Add(time.Duration(d))
	}
	return time.Time{}
}
