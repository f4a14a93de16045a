package tunnel

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"time"

	"peerway/signal/relay"
	"peerway/tunnel/lan"
	"peerway/tunnel/path"
	"peerway/tunnel/pathsock"
)

// A relaying is a session's places at relays on UDP, one of which it uses. Both ends take
// a place at each, so that there is a spare one when a relay dies; the end that dialed
// chooses, the other follows. It belongs to the climber.
type relaying struct {
	places []*mooring // as the signal server ordered them
	inUse  *mooring   // nil: none
	choice path.Choice

	hitch   Hitch // of late; "": none
	hitchAt time.Time
	asked   bool // whether UDP passes, because of it
}

// maxMoorings bounds the places of a session.
const maxMoorings = 3

// A mooring is a place at one relay.
type mooring struct {
	addr    netip.AddrPort
	other   netip.AddrPort // of the same relay with the other version of IP; invalid: none
	binding *relay.Binding
	boundAt time.Time // zero: this end is not bound
	up      bool      // the peer has answered through it
	askAt   time.Time // when it is to be asked
	asked   int       // times
	quality path.Quality
	usedAt  time.Time // since when it is, or was last, in use
	failed  int       // times in a row, soon after it was taken
	leaving bool      // not granted any more: used until another one is up
}

const (
	// The peer is asked through a relay until it answers: it may not be bound yet.
	firstAsk = 100 * time.Millisecond // doubles to lastAsk
	lastAsk  = 5 * time.Second

	// followAfter is how long the peer has used another relay when it is followed.
	followAfter = 200 * time.Millisecond

	// earnedAfter is how long a relay must have worked for its loss to say nothing of it.
	earnedAfter = 30 * time.Second
)

// A relayAnswer is what a relay said, not looked at yet.
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
	if lan.IsPacket(packet) {
		if m.lan != nil {
			m.lan.Deliver(packet, from)
		}
		return
	}
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

// at returns the place at a relay, or nil.
func (r *relaying) at(addr netip.AddrPort) *mooring {
	for _, m := range r.places {
		if addr.IsValid() && (m.addr == addr || m.other == addr) {
			return m
		}
	}
	return nil
}

// turn goes to the other address of the relay.
func (m *mooring) turn() { m.addr, m.other = m.other, m.addr }

// know takes the other address of the relay from a grant. If the one that this end goes to is
// none of the grant's any more, it has the other one by which it was found.
func (m *mooring) know(place relay.Place) {
	switch m.addr {
	case place.Addr:
		m.other = place.Other
	case place.Other:
		m.other = place.Addr
	}
}

// hear takes an answer of the relay, at whichever of its addresses, and reports whether it is
// genuine. The address that answered is the one to go to, but a place at which the peer was
// found stays as it is: the answer may be a late one.
func (m *mooring) hear(now time.Time, a relayAnswer) bool {
	if !m.binding.Hear(now, a.packet) {
		return false
	}
	if m.addr != a.from && !m.up {
		m.turn()
	}
	return true
}

// moor takes places at relays, and leaves others.
func (c *climber) moor(places []relay.Place) {
	if len(places) == 0 {
		return
	}
	var moorings []*mooring
	var addrs []netip.AddrPort
	for _, place := range places[:min(len(places), maxMoorings)] {
		m := cmp.Or(c.relay.at(place.Addr), c.relay.at(place.Other))
		if m == nil {
			m = &mooring{addr: place.Addr, binding: relay.NewBinding(place.Grant)}
		} else {
			m.binding.Renew(place.Grant)
			m.leaving = false
		}
		m.know(place)
		moorings = append(moorings, m)
	}
	if m := c.relay.inUse; m != nil && !slices.Contains(moorings, m) {
		m.leaving = true // the signal server may be wrong about it, and the peer may not know yet
		moorings = append(moorings, m)
	}
	for _, m := range moorings {
		addrs = append(addrs, m.addr)
		if m.other.IsValid() {
			addrs = append(addrs, m.other)
		}
	}
	c.relay.places = moorings
	c.s.route.Accept(addrs...)
	c.keepRelays(time.Now())
}

// answered takes what a relay has said.
func (c *climber) answered(a relayAnswer) {
	now := time.Now()
	if m := c.relay.at(a.from); m != nil && m.hear(now, a) {
		c.keepRelays(now)
	}
}

// keepRelays says to the relays, and to the peer through them, what is to be said, and
// decides which one is used.
func (c *climber) keepRelays(now time.Time) {
	r := &c.relay
	for _, m := range r.places {
		c.keep(m, now)
	}
	before := r.inUse
	if r.inUse = c.choose(now); r.inUse == before {
		return
	}
	if r.inUse == nil {
		c.apply(c.paths.RelayDown(now))
		return
	}
	r.inUse.usedAt = now
	c.meet(now)
	c.apply(c.paths.RelayUp(now, r.inUse.addr, r.inUse.quality.RTT))
}

// keep keeps one place.
func (c *climber) keep(m *mooring, now time.Time) {
	if packet := m.binding.Tick(now); packet != nil {
		// Where there is no answer, one version of IP may be broken, or blocked.
		if n := m.binding.Unanswered(); !m.binding.Bound() && m.other.IsValid() && n > 1 && n%2 == 1 {
			m.turn()
		}
		c.s.m.sock.WriteReal(packet, m.addr) // an error is a lost packet
	}
	if !m.binding.Bound() {
		m.boundAt, m.up = time.Time{}, false
		return
	}
	if m.boundAt.IsZero() {
		m.await(now)
	}
	answers := c.s.route.Answers(m.addr, true)
	switch {
	case m.up:
		if (c.busy(now) || c.s.watched(now)) && c.belowMatters() {
			c.measure(now, &m.quality, m.addr, true, m == c.relay.inUse && (c.lookClosely() || c.survey.aside.Relay))
		}
	case answers.Proven.After(m.boundAt):
		m.up = true
		m.quality.Answered(answers.At, answers.RTT, answers.Got, answers.Lost)
	case !now.Before(m.askAt):
		if c.s.role == dialing && m.asked == 0 {
			c.s.route.Ask(netip.AddrPort{}, false, pathsock.Survey) // what the relay is compared with
		}
		c.s.route.Ask(m.addr, true, pathsock.Proof)
		m.askAt = now.Add(min(firstAsk<<min(m.asked, 8), lastAsk))
		m.asked++
	}
}

// await begins to ask the peer through the relay.
func (m *mooring) await(now time.Time) {
	m.boundAt, m.up = now, false
	m.askAt, m.asked = now, 0
}

// choose returns the place to use, or nil.
func (c *climber) choose(now time.Time) *mooring {
	var offers []path.Offer
	for _, m := range c.relay.places { // the one that is left comes last
		if m.up && !(m.leaving && len(offers) > 0) {
			offers = append(offers, path.Offer{Addr: m.addr, Quality: m.quality})
		}
	}
	if c.s.role == answering {
		c.follow()
		if m := c.relay.at(c.relay.choice.Chosen()); m != nil && m.up && !m.leaving {
			return m // only the other end changes it
		}
	}
	return c.relay.at(c.relay.choice.Choose(now, offers))
}

// follow takes the relay that the peer uses.
func (c *climber) follow() {
	if c.relay.inUse == nil {
		return
	}
	heard := c.s.route.Through(c.relay.inUse.addr).Heard
	for _, m := range c.relay.places {
		if m.up && c.s.route.Through(m.addr).Heard.Sub(heard) > followAfter {
			c.relay.choice.Take(m.addr)
		}
	}
}

// castOff leaves the relay in use, which was lost, for another one if there is one.
func (c *climber) castOff(now time.Time) {
	m := c.relay.inUse
	if m == nil {
		return
	}
	if m.failed++; now.Sub(m.usedAt) > earnedAfter {
		m.failed = 0
	}
	c.relay.choice.Depart(now, m.addr) // it may answer questions and carry nothing
	m.binding.Hurry()                  // or be dead
	m.await(now)
	m.askAt = now.Add(lastAsk << min(m.failed, 5)) // unless it is looked for sooner
	c.keepRelays(now)
}

// lookAround makes sure of all places, and looks for the peer where it was not found.
func (c *climber) lookAround(now time.Time) {
	for _, m := range c.relay.places {
		m.binding.Hurry()
		if !m.up {
			m.await(now)
		}
	}
	c.keepRelays(now)
}
