package tunnel

import (
	"bytes"
	"net/netip"
	"time"

	"peerway/signal/relay"
)

// A relaying is a session's place at a relay on UDP. It belongs to the climber.
type relaying struct {
	addr    netip.AddrPort // invalid: there is none
	binding *relay.Binding
	boundAt time.Time // zero: this end is not bound
	up      bool      // the peer has answered through it
	askAt   time.Time // when it is to be asked
	asked   int       // times
}

// The peer is asked through the relay until it answers: it may not be bound yet.
const (
	firstAsk = 100 * time.Millisecond // doubles to lastAsk
	lastAsk  = 5 * time.Second
)

// An answer is what a relay said, not looked at yet.
type relayAnswer struct {
	packet []byte
	from   netip.AddrPort
}

// granted takes relays that may be used. It never blocks: an older grant that nobody
// has looked at makes room.
func (s *session) granted(places []relay.Place) {
	for {
		select {
		case s.places <- places:
			return
		default:
		}
		select {
		case <-s.places:
		default:
		}
	}
}

// Granted tells the Manager of relays on UDP that a session may use.
func (m *Manager) Granted(id uint64, places []relay.Place) {
	if s, ok := m.routes.Load(id); ok {
		s.(*session).granted(places)
	}
}

// deliver takes what the socket has received and is neither QUIC nor of a path. It
// borrows packet and never blocks.
func (m *Manager) deliver(packet []byte, from netip.AddrPort) {
	if !relay.IsAnswer(packet) {
		m.puncher.Deliver(packet, from)
		return
	}
	if s, ok := m.routes.Load(relay.AnswerSession(packet)); ok {
		select {
		case s.(*session).answers <- relayAnswer{bytes.Clone(packet), from}:
		default: // nobody has asked so often
		}
	}
}

// moor takes a place at the best relay of some.
func (c *climber) moor(places []relay.Place) {
	if len(places) == 0 {
		return
	}
	best := places[0]
	if c.relay.addr == best.Addr {
		c.relay.binding.Renew(best.Grant)
		return
	}
	if c.relay.up {
		c.apply(c.paths.RelayDown(time.Now()))
	}
	c.relay = relaying{addr: best.Addr, binding: relay.NewBinding(best.Grant)}
	c.s.route.Accept(best.Addr)
	c.keepRelay(time.Now())
}

// answered takes what a relay has said.
func (c *climber) answered(a relayAnswer) {
	now := time.Now()
	if a.from == c.relay.addr && c.relay.binding.Hear(now, a.packet) {
		c.keepRelay(now)
	}
}

// keepRelay says to the relay, and to the peer through it, what is to be said.
func (c *climber) keepRelay(now time.Time) {
	r := &c.relay
	if !r.addr.IsValid() {
		return
	}
	if packet := r.binding.Tick(now); packet != nil {
		c.s.m.sock.WriteReal(packet, r.addr) // an error is a lost packet
	}
	if !r.binding.Bound() {
		if r.up {
			c.apply(c.paths.RelayDown(now))
		}
		r.boundAt, r.up = time.Time{}, false
		return
	}
	if r.boundAt.IsZero() {
		r.boundAt = now
		c.askThrough(now)
	}
	if r.up {
		return
	}
	at, rtt := c.s.route.Pinged(r.addr, true)
	switch {
	case at.After(r.boundAt):
		r.up = true
		c.apply(c.paths.RelayUp(now, r.addr, rtt))
	case !now.Before(r.askAt):
		c.s.route.Ping(r.addr, true, false)
		r.askAt = now.Add(min(firstAsk<<min(r.asked, 8), lastAsk))
		r.asked++
	}
}

// askThrough begins to ask the peer through the relay.
func (c *climber) askThrough(now time.Time) {
	c.relay.boundAt, c.relay.up = now, false
	c.relay.askAt, c.relay.asked = now, 0
}
