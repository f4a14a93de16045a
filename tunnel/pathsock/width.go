package pathsock

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"peerway/signal/datagram"
	"peerway/signal/relay"
)

// PacketSize is the size of QUIC's full packets, in bytes: what PPPoE carries
// under the headers of IPv6, UDP and a relay. Smaller ones, that fit most mobile
// networks and WireGuard (1372), cost a twentieth of the throughput everywhere else.
const PacketSize = 1492 - 40 - 8 - relay.HeaderSize

// A path may be narrower than the packets of QUIC, which chose their size when the
// carrier had them. So each path is narrow until a probe of the
// largest size was answered on it, and again when probes are not answered any
// more. Packets that may not fit a narrow path cross it in two parts. QUIC
// notices none of this.
//
// narrowSize fits every path: IPv6 needs 1280 bytes (RFC 8200 section 5).
const narrowSize = 1280 - 40 - 8 - relay.HeaderSize

// The first byte of what paths say to each other, between those of STUN and
// ZRTP (RFC 9443 section 2).
const (
	typeProbe byte = 4 // nonce, padding: does this arrive?
	typeEcho  byte = 5 // nonce: it does
	typePart  byte = 6 // one of the two parts of a packet; see parts.go
)

const probeHeader = 1 + 8

// A width knows whether one path is wide. It asks only while packets are
// written, so an idle path is silent.
type width struct {
	mu         sync.Mutex
	wide       bool
	nonce      uint64        // all probes on this path carry it; unguessable
	sent       int           // probes since the last answer
	firstAt    time.Duration // the first of those
	sentAt     time.Duration // the last of those
	answeredAt time.Duration
	rtt        time.Duration // at most so long did the last answer take
	written    int           // bytes, since then
}

const (
	askEvery  = 50 * time.Millisecond // while narrow, for askOften probes; and when wide is in doubt, with a round trip and a quarter
	askOften  = 10
	askSeldom = 5 * time.Second

	// A wide path is asked again after confirmEvery, once confirmBytes were written,
	// or after confirmSeldom: a probe may be a percent of what a slow path carries.
	confirmEvery  = 500 * time.Millisecond
	confirmSeldom = 2 * time.Second
	confirmBytes  = 128 << 10

	// A wide path is narrow after two probes without an answer for two round trips
	// and this, or after one when packets have become so rare that a second was not
	// sent: QUIC slows down when nothing arrives. To be wrong costs little.
	narrowAfter     = 300 * time.Millisecond
	narrowAfterRare = 700 * time.Millisecond
	maxRTT          = time.Second // that is taken into account
)

func newWidth() *width { return &width{nonce: newNonce()} }

// newNonce returns a number that nobody can guess and that is not 0.
func newNonce() uint64 {
	var nonce [8]byte
	rand.Read(nonce[:]) // never fails since Go 1.24
	return binary.BigEndian.Uint64(nonce[:]) | 1
}

// look is called before so many bytes are written at now. It reports whether the
// path is wide, and returns the nonce of a probe to be sent, or 0.
func (w *width) look(now time.Duration, bytes int) (wide bool, probe uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written += bytes
	silence := now - w.firstAt - 2*w.rtt
	if w.wide && (w.sent > 1 && silence > narrowAfter || w.sent > 0 && silence > narrowAfterRare) {
		w.wide, w.sent = false, 0
	}
	every := askEvery
	switch {
	case w.wide:
		every += w.rtt + w.rtt/4
	case w.sent >= askOften:
		every = askSeldom
	}
	if w.sent > 0 && now-w.sentAt < every || w.wide && w.sent == 0 && !w.stale(now) {
		return w.wide, 0
	}
	if w.sent == 0 {
		w.firstAt = now
	}
	w.sent++
	w.sentAt = now
	return w.wide, w.nonce
}

// stale reports whether the last answer says nothing any more.
func (w *width) stale(now time.Duration) bool {
	age := now - w.answeredAt
	return age >= confirmSeldom || age >= confirmEvery && w.written >= confirmBytes
}

// answered is called when an echo came at now, on the path.
func (w *width) answered(nonce uint64, now time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if nonce == w.nonce {
		if w.sent > 0 { // else it answers a probe that was repeated
			w.rtt = min(now-w.firstAt, maxRTT)
		}
		w.wide, w.sent, w.written, w.answeredAt = true, 0, 0, now
	}
}

// refused is called when the kernel says that a packet is too large.
func (w *width) refused() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wide = false
}

// A probe is the type byte, a nonce, and padding, whose first byte may say doubts.
const doubts = 1

// probeWidth asks whether packets of the largest size pass.
func (p *Peer) probeWidth(nonce uint64, w way) {
	var probe [PacketSize]byte
	p.say(appendProbe(probe[:0], nonce)[:PacketSize], w)
}

// probe asks q.
func (p *Peer) probe(nonce uint64, q Question, w way) {
	var probe [narrowSize]byte
	b := appendProbe(probe[:0], nonce)
	if q != Survey {
		b = b[:narrowSize]
	}
	if q == Doubt {
		b[probeHeader] = doubts
	}
	p.say(b, w)
}

func appendProbe(b []byte, nonce uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, typeProbe), nonce)
}

// say sends what is about a path on it. An error is the loss of it.
func (p *Peer) say(b []byte, w way) {
	switch {
	case w != way{}:
		p.socket.send(b, datagram.Control{}, w)
	case p.carrier != nil:
		p.carrier.WritePacket(b)
	}
}

// echoes bounds the answers to probes: their source is not proven. It belongs to the
// goroutine that reads.
type echoes struct {
	since int64 // by Socket.now
	count int
}

// echoesIn is how many there may be in a span; honest peers ask ten times less often.
const (
	echoSpan = int64(time.Second)
	echoesIn = 200
)

func (e *echoes) allow(now int64) bool {
	if now-e.since > echoSpan {
		*e = echoes{since: now}
	}
	e.count++
	return e.count <= echoesIn
}

// hearDoubt notes that the peer may not hear us on a path.
func (p *Peer) hearDoubt(now int64, from way) {
	switch {
	case from == way{}:
	case from.session == 0:
		p.received.direct.doubted.Store(now)
	default:
		p.received.relay.doubted.Store(now)
		if through := p.inlet(from.to); through != nil {
			through.doubted.Store(now)
		}
	}
}

// hearPath takes what is neither QUIC nor of others, from where the peer is known to
// be. It returns a packet of QUIC if one is complete now.
func (s *Socket) hearPath(p *Peer, packet []byte, from way) (whole []byte) {
	if len(packet) < probeHeader && packet[0] != typePart {
		return nil
	}
	switch packet[0] {
	case typeProbe:
		if len(packet) > probeHeader && packet[probeHeader] == doubts {
			p.hearDoubt(s.reader.at, from)
		}
		if p.echoes.allow(s.reader.at) {
			var echo [probeHeader]byte
			copy(echo[1:], packet[1:])
			echo[0] = typeEcho
			p.say(echo[:], from)
		}
	case typeEcho:
		if path := p.known(from); path != nil {
			nonce, now := binary.BigEndian.Uint64(packet[1:]), time.Duration(s.now())
			path.width.answered(nonce, now)
			path.ping.answered(nonce, now)
		}
	case typePart:
		return p.parts.join(packet)
	}
	return nil
}
