package pathsock

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Carrier carries packets to a peer where no datagrams pass.
type Carrier interface {
	// WritePacket sends one packet, of QUIC or of at least 9 bytes, which it borrows until it returns. It
	// must not block, and may be called from several goroutines. An error is
	// the loss of the packet, nothing more.
	WritePacket(p []byte) error
}

// A Route says where the packets for a peer go. With several fields set each
// packet goes every way; with none it is lost.
type Route struct {
	Direct  netip.AddrPort // the peer's real address; invalid means no direct path
	Relay   netip.AddrPort // of a relay on UDP that knows the session; invalid means none
	Carrier bool
}

// routed is a route with what is known of its paths.
type routed struct {
	Route
	paths []*path
}

// Stats is what a Peer has counted. Bytes are those of QUIC packets, without
// headers below; a packet that goes several ways counts once in bytes.
type Stats struct {
	BytesIn, BytesOut      uint64
	Direct, Relay, Carrier PathStats
	Dropped                uint64 // packets from the carrier that found the queue full
	SendErrors             uint64 // datagrams that the kernel refused
}

// PathStats is what a Peer has counted on one kind of path. Times are zero for never.
type PathStats struct {
	In, Out uint64    // packets
	Heard   time.Time // last packet from where the peer is
	Doubted time.Time // last time that the peer said it may not hear ours
	Sent    time.Time // last attempt to send one
}

// A Peer is one remote process, under one address for as long as it is known.
// All methods are safe for concurrent use.
type Peer struct {
	socket  *Socket
	carrier Carrier
	carried *path  // what is known of that
	session uint64 // before its packets at relays
	id      uint64
	addr    *net.UDPAddr

	route    atomic.Pointer[routed]
	mu       sync.Mutex               // serializes changes of route, paths and relays
	paths    atomic.Pointer[[]*path]  // that were used or asked, the newest last
	relays   atomic.Pointer[[]*inlet] // from which packets count as the peer's
	numbered atomic.Uint32            // packets that were sent in parts
	parts    parts                    // belongs to the goroutine that reads
	echoes   echoes
	joiner   joiner
	closed   atomic.Bool
	patience atomic.Int64 // nanoseconds
	backlog  backlog
	queued   int // packets in the socket's queue, guarded by its lock

	received   struct{ direct, relay, carrier incoming }
	dropped    atomic.Uint64
	_          [64]byte // the reader and the writer count in different cache lines
	sent       struct{ direct, relay, carrier outgoing }
	sentBytes  atomic.Uint64
	sentErrors atomic.Uint64
}

// incoming counts packets of one kind of path.
type incoming struct {
	packets, bytes atomic.Uint64
	at, doubted    atomic.Int64 // by Socket.now
}

func (i *incoming) count(now int64, packets, bytes int) {
	i.packets.Add(uint64(packets))
	i.bytes.Add(uint64(bytes))
	i.at.Store(now)
}

// An inlet is a relay and what came from there.
type inlet struct {
	relay netip.AddrPort
	incoming
}

// outgoing counts packets to one kind of path.
type outgoing struct {
	packets atomic.Uint64
	at      atomic.Int64 // by Socket.now
}

// Add makes a peer known, under a new fictitious address, with everything going
// to carrier. It borrows carrier until the peer is closed; nil loses what is sent
// there. session is the number before its packets at relays, and not 0. The
// caller closes the peer.
func (s *Socket) Add(carrier Carrier, session uint64) *Peer {
	p := &Peer{socket: s, carrier: carrier, session: session}
	p.backlog.moved = make(chan struct{}, 1)
	p.joiner.changed.L = &p.joiner.mu
	p.carried = newPath(way{}, &p.sent.carrier)
	p.route.Store(&routed{Route: Route{Carrier: true}})
	p.paths.Store(new([]*path))
	p.relays.Store(new([]*inlet))
	s.tables.add(p)
	return p
}

// Addr returns the fictitious address by which QUIC knows the peer.
func (p *Peer) Addr() *net.UDPAddr { return p.addr }

// SetRoute sends everything from now on along r. It does not make Direct an
// authenticated source.
func (p *Peer) SetRoute(r Route) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := &routed{Route: r}
	if r.Direct.IsValid() {
		next.Direct = unmap(r.Direct)
		next.paths = append(next.paths, p.path(way{to: next.Direct}))
	}
	if r.Relay.IsValid() {
		next.Relay = unmap(r.Relay)
		next.paths = append(next.paths, p.path(way{next.Relay, p.session}))
	}
	p.route.Store(next)
}

// maxPaths bounds the paths that a peer is remembered to have.
const maxPaths = 8

// path returns what is known of a way to the peer, from now on. p.mu is held.
func (p *Peer) path(w way) *path {
	if known := p.known(w); known != nil {
		return known
	}
	sent := &p.sent.direct
	if w.session != 0 {
		sent = &p.sent.relay
	}
	made, paths := newPath(w, sent), slices.Clone(*p.paths.Load())
	if len(paths) >= maxPaths {
		used := p.route.Load().paths
		oldest := slices.IndexFunc(paths, func(old *path) bool { return !slices.Contains(used, old) })
		paths = slices.Delete(paths, oldest, oldest+1) // a route has fewer
	}
	paths = append(paths, made)
	p.paths.Store(&paths)
	return made
}

// known returns the path of a way, or nil.
func (p *Peer) known(w way) *path {
	if w == (way{}) {
		return p.carried
	}
	for _, path := range *p.paths.Load() {
		if path.way == w {
			return path
		}
	}
	return nil
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

// Accept lets packets of the session count as this peer's that come from one of
// these relays, and no others.
func (p *Peer) Accept(relays ...netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	inlets := make([]*inlet, len(relays))
	for i, relay := range relays {
		if inlets[i] = p.inlet(unmap(relay)); inlets[i] == nil {
			inlets[i] = &inlet{relay: unmap(relay)}
		}
	}
	p.relays.Store(&inlets)
}

// inlet returns what came through a relay, or nil if its packets do not count.
func (p *Peer) inlet(relay netip.AddrPort) *inlet {
	for _, in := range *p.relays.Load() {
		if in.relay == relay {
			return in
		}
	}
	return nil
}

// Through returns when something last happened on the way through one relay. Packets
// are not counted.
func (p *Peer) Through(relay netip.AddrPort) (s PathStats) {
	relay = unmap(relay)
	if in := p.inlet(relay); in != nil {
		s.Heard, s.Doubted = p.socket.time(&in.at), p.socket.time(&in.doubted)
	}
	if path := p.known(way{relay, p.session}); path != nil {
		s.Sent = p.socket.time(&path.sentAt)
	}
	return s
}

// Inject takes a packet of this peer that its carrier brought: one of QUIC, or about the
// carrier. It copies the packet and never blocks: while the queue is full, packets are
// dropped.
func (p *Peer) Inject(packet []byte) {
	if p.closed.Load() || !isQUIC(packet) && !isPath(packet) || isPart(packet) || len(packet) > maxPacket {
		return
	}
	if !p.socket.in.push(p, packet, way{}, 0) {
		p.dropped.Add(1)
		return
	}
	if isQUIC(packet) {
		p.received.carrier.count(p.socket.now(), 1, len(packet))
	}
	p.socket.wake()
}

// SetPatience says how long packets of the peer may gather before they are read.
func (p *Peer) SetPatience(d time.Duration) { p.patience.Store(int64(d)) }

// Stats returns what has been counted so far.
func (p *Peer) Stats() Stats {
	of := func(in *incoming, out *outgoing) PathStats {
		return PathStats{In: in.packets.Load(), Out: out.packets.Load(), Heard: p.socket.time(&in.at), Doubted: p.socket.time(&in.doubted), Sent: p.socket.time(&out.at)}
	}
	in, out := &p.received, &p.sent
	return Stats{
		BytesIn:    in.direct.bytes.Load() + in.relay.bytes.Load() + in.carrier.bytes.Load(),
		BytesOut:   p.sentBytes.Load(),
		Direct:     of(&in.direct, &out.direct),
		Relay:      of(&in.relay, &out.relay),
		Carrier:    of(&in.carrier, &out.carrier),
		Dropped:    p.dropped.Load(),
		SendErrors: p.sentErrors.Load(),
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
