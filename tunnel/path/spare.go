package path

import (
	"net/netip"
	"time"
)

// spareAfter is the silence of the floor, while packets go over it, after which they also
// go on a path that was put aside. Floors are long: the websocket of a distant server.
const spareAfter = 2 * suspectAfter

// SetAside says whether the floor is better than the path, though that works. A path that
// was put aside is spare: packets take it only while the floor is silent. The peer does
// the same, or would take the path for lost.
func (m *Machine) SetAside(now time.Time, aside bool) Verdict {
	before := m.route
	if aside != m.aside {
		m.aside = aside
		switch m.state {
		case trial, inUse, suspect:
			m.rest()
		case spare:
			m.try(now)
		}
	}
	return m.decided(now, before)
}

// rest makes the path spare.
func (m *Machine) rest() {
	m.state, m.route, m.sentOver = spare, Route{Floor: true}, run{}
}

// keepSpare uses a spare path while the floor owes an answer, and sooner if the peer does.
func (m *Machine) keepSpare(now time.Time, seen Observation) {
	m.sentOver.note(seen.SentFloor, seen.HeardFloor, max(pause, 4*m.rtt))
	owes := now.Sub(m.sentOver.first)
	switch {
	case m.route.Addr.IsValid():
		if seen.HeardFloor.After(m.suspectAt) {
			m.route = Route{Floor: true}
		}
	case m.sentOver.length() >= askedFor && owes >= max(spareAfter, 2*m.rtt),
		m.sentOver.length() >= 0 && owes >= askedFor && now.Sub(seen.Heard) < helpFor:
		m.route.Addr, m.suspectAt = m.addr, now // of the floor
	}
}

// spareAddr returns the path if it is spare.
func (m *Machine) spareAddr() netip.AddrPort {
	if m.state != spare {
		return netip.AddrPort{}
	}
	return m.addr
}
