// Package path decides which path carries the packets for a peer: the relay,
// which always works, a direct path, or both while it is unsure.
//
// A [Machine] is told what happened and what was heard, always with the time,
// and answers with a [Decision]. It looks at packets of the connection itself,
// not at probes: that is the traffic that must not stall, and some networks
// pass the one but not the other. A path of which nothing is asked is left
// alone; ICE, which does probe, reports its end.
//
// # Ownership
//
// The package is pure: no goroutines, no clocks, no I/O. A Machine belongs to
// one goroutine.
package path

import (
	"net/netip"
	"time"
)

// Interval is how often Tick wants to be called while a direct path is in use
// or an attempt is due.
const Interval = 100 * time.Millisecond

const (
	// suspectAfter is the silence on the direct path, while packets go out on
	// it, after which they also go over the relay. loseAfter is the silence
	// after which they go over the relay only. A long round trip time stretches
	// both.
	suspectAfter = 250 * time.Millisecond
	loseAfter    = 1500 * time.Millisecond

	// deafAfter takes the place of loseAfter while the relay is silent too. Then
	// the peer may hear us and answer in vain on the direct path: it notices
	// when we leave that.
	deafAfter = time.Second

	// asideFor is how long a lost path is not used at all, so that the peer notices.
	// If the relay is still silent then, packets go both ways again: a network that
	// fails as a whole comes back as a whole, and websockets are slow to notice.
	asideFor = 2 * time.Second

	// relayedAfter is how long a peer that uses the relay must have been silent
	// on the direct path for it to have lost that.
	relayedAfter = 300 * time.Millisecond

	// Packets need not be answered: the last acknowledgement of a transfer is
	// not. So silence means nothing unless sending went on for askedFor, and for
	// a loss pressedFor, without a pause of pause, before which an older packet
	// is forgotten.
	askedFor   = 100 * time.Millisecond
	pressedFor = 500 * time.Millisecond
	pause      = time.Second

	// maxRTT bounds what a round trip time may stretch: the peer has a say in
	// what is measured.
	maxRTT = time.Second

	// stableAfter is the life after which a direct path has earned an immediate
	// attempt to replace it. One that dies younger waits for its turn.
	stableAfter = 10 * time.Second

	// attemptLife bounds the wait for the end of an attempt, startGap the rate
	// of attempts in a burst of network changes.
	attemptLife = 30 * time.Second
	startGap    = time.Second
)

// retryDelays returns the pauses after the first, second, ... attempt that
// brought nothing. The last one repeats.
func retryDelays() [4]time.Duration {
	return [4]time.Duration{5 * time.Second, 15 * time.Second, 60 * time.Second, 120 * time.Second}
}

// Direct is the Path of a Decision when packets go to the peer itself.
const Direct = "direct"

// A Route is where packets for the peer go. With both they go twice. Without
// Direct, Relay is set.
type Route struct {
	Direct netip.AddrPort
	Relay  bool
}

// An Observation tells when something last happened; zero means never. It
// counts packets of the connection, not ICE checks.
type Observation struct {
	HeardDirect time.Time // from the peer's own address
	HeardRelay  time.Time
	SentDirect  time.Time
}

// A Decision is what to do now.
type Decision struct {
	Route

	// Changed is whether Route differs from that of the decision before.
	Changed bool

	// StartAttempt asks for a new ICE attempt. It replaces one that is still
	// looking, which is closed without a report. The attempt behind the direct
	// path in use goes on until another is up.
	StartAttempt bool

	// Path names the route for people: [Direct], or the name of the relay. While
	// packets go both ways it is the one that was trusted last.
	Path string
}

// A Config names things for a [Machine].
type Config struct {
	// Relay is what a Decision calls the relay. Zero means "relay-ws".
	Relay string
}

type state int

const (
	relayed state = iota // no direct path
	trial                // proven by ICE, not yet by the connection: send on both
	direct               // in use
	suspect              // in use and silent: send on both
)

// A Machine decides for one peer. The zero value is not usable.
type Machine struct {
	relay string
	state state
	route Route
	path  string // for people
	rtt   time.Duration

	upAt      time.Time // when the direct path was proven
	suspectAt time.Time // when the state became suspect
	sent      run       // packets that the direct path owes an answer to
	overRelay run       // packets that the peer sent over the relay only

	last   netip.AddrPort // the direct path that was lost; invalid once the relay was heard since
	lostAt time.Time

	attempting bool
	startedAt  time.Time // of the last attempt
	nextAt     time.Time // of the next attempt; zero if none is planned
	step       int       // index of retryDelays for the next pause
}

// New returns a machine that is on the relay. Its first Tick asks for an
// attempt.
func New(config Config) *Machine {
	if config.Relay == "" {
		config.Relay = "relay-ws"
	}
	return &Machine{relay: config.Relay, path: config.Relay, route: Route{Relay: true}, nextAt: time.Unix(0, 0)}
}

// DirectUp says that ICE proved a path to addr. Packets go both ways until the
// connection itself was heard on it.
func (m *Machine) DirectUp(now time.Time, addr netip.AddrPort, rtt time.Duration) Decision {
	before := m.route
	m.attempting, m.nextAt = false, time.Time{}
	m.rtt = min(rtt, maxRTT)
	if m.state != relayed && m.route.Direct == addr {
		return m.decided(now, before)
	}
	m.state, m.last = trial, netip.AddrPort{}
	m.route = Route{Direct: addr, Relay: true}
	m.upAt, m.sent, m.overRelay = now, run{}, run{}
	return m.decided(now, before)
}

// DirectDown says that ICE lost the direct path.
func (m *Machine) DirectDown(now time.Time) Decision {
	before := m.route
	if m.state != relayed {
		m.lose(now)
	}
	return m.decided(now, before)
}

// AttemptEnded says that the attempt that was asked for last is over. If it
// found a path, DirectUp has said so before, and this changes nothing.
func (m *Machine) AttemptEnded(now time.Time) Decision {
	if m.attempting {
		m.attempting = false
		m.attemptFailed(now)
	}
	return m.decided(now, m.route)
}

// NetworkChanged says that addresses or routes of this host changed. A direct
// path is under suspicion until it is heard from.
func (m *Machine) NetworkChanged(now time.Time) Decision {
	before := m.route
	if m.state == direct {
		m.suspectNow(now)
	}
	m.attempting, m.step = false, 0
	m.nextAt = now
	if earliest := m.startedAt.Add(startGap); earliest.After(now) {
		m.nextAt = earliest
	}
	return m.decided(now, before)
}

// Tick says what was heard and sent until now.
func (m *Machine) Tick(now time.Time, seen Observation) Decision {
	before := m.route
	m.note(seen)
	switch {
	case m.state == relayed:
	case m.lost(now, seen):
		m.lose(now)
	case m.state == direct && m.silent(now, seen):
		m.suspectNow(now)
	case m.state == suspect && seen.HeardDirect.After(m.suspectAt),
		m.state == trial && seen.HeardDirect.After(m.upAt):
		m.state, m.path = direct, Direct
		m.route.Relay = false
	}
	if m.last.IsValid() {
		m.lookBack(now, seen)
	}
	if m.attempting && now.Sub(m.startedAt) >= attemptLife {
		m.attempting = false
		m.attemptFailed(now)
	}
	return m.decided(now, before)
}

// note follows the runs of packets that say something about the direct path.
func (m *Machine) note(seen Observation) {
	if m.state != relayed {
		heard, gap := later(seen.HeardDirect, m.upAt), max(pause, 4*m.rtt)
		m.sent.note(seen.SentDirect, heard, gap)
		m.overRelay.note(seen.HeardRelay, heard, gap)
	}
}

// A run is a sequence of packets without a long pause, since the direct path
// was last heard.
type run struct{ first, last time.Time }

// note adds a packet seen at a time to the run. A new one begins after a gap,
// and when the direct path was heard since it began.
func (r *run) note(at, heard time.Time, gap time.Duration) {
	if !heard.Before(r.first) || at.Sub(r.last) > gap {
		r.first = time.Time{}
	}
	r.last = at
	if r.first.IsZero() && at.After(heard) {
		r.first = at
	}
}

// length returns how long the run goes on, or a negative number if there is none.
func (r *run) length() time.Duration {
	if r.first.IsZero() {
		return -1
	}
	return r.last.Sub(r.first)
}

// unanswered reports whether packets were sent on the direct path for at least
// long, the first of them at least since ago, and nothing came back.
func (m *Machine) unanswered(now time.Time, since, long time.Duration) bool {
	return m.sent.length() >= long && now.Sub(m.sent.first) >= since
}

// silent reports whether the direct path is quiet where it should not be: it
// does not answer, or the peer talks over the relay.
func (m *Machine) silent(now time.Time, seen Observation) bool {
	return m.unanswered(now, max(suspectAfter, 2*m.rtt), askedFor) ||
		seen.HeardRelay.Sub(later(seen.HeardDirect, m.upAt)) >= relayedAfter
}

// lost reports whether the direct path is dead: it did not answer for long, or
// the peer has used the relay for long.
func (m *Machine) lost(now time.Time, seen Observation) bool {
	after := max(loseAfter, 5*m.rtt)
	deaf := m.state == suspect && !seen.HeardRelay.After(m.sent.first)
	return m.unanswered(now, after, pressedFor) ||
		deaf && m.unanswered(now, max(deafAfter, 4*m.rtt), pressedFor) ||
		m.state == suspect && m.overRelay.length() >= after
}

func (m *Machine) suspectNow(now time.Time) {
	m.state, m.suspectAt = suspect, now
	m.route.Relay = true
}

// lookBack takes the lost path into use again if the relay stays as silent as it.
func (m *Machine) lookBack(now time.Time, seen Observation) {
	switch {
	case seen.HeardRelay.After(m.lostAt):
		m.last, m.route = netip.AddrPort{}, Route{Relay: true}
	case now.Sub(m.lostAt) < asideFor:
	case seen.HeardDirect.After(m.lostAt):
		m.state, m.path = direct, Direct
		m.route, m.last = Route{Direct: m.last}, netip.AddrPort{}
		m.upAt, m.sent, m.overRelay = now, run{}, run{}
		m.plan(now) // ICE has given it up, and must prove it anew
	default:
		m.route.Direct = m.last
	}
}

// lose leaves the direct path and plans an attempt: at once after a stable one,
// else at the next step.
func (m *Machine) lose(now time.Time) {
	m.last, m.lostAt = m.route.Direct, now
	m.state, m.path = relayed, m.relay
	m.route = Route{Relay: true}
	if now.Sub(m.upAt) < stableAfter {
		m.attemptFailed(now)
		return
	}
	m.step = 0
	m.plan(now)
}

// attemptFailed plans the next attempt, unless a direct path is in use.
func (m *Machine) attemptFailed(now time.Time) {
	if m.state == relayed {
		delays := retryDelays()
		m.plan(now.Add(delays[min(m.step, len(delays)-1)]))
		m.step++
	}
}

// plan sets the time of the next attempt, unless one is running or planned for
// earlier.
func (m *Machine) plan(at time.Time) {
	if !m.attempting && (m.nextAt.IsZero() || at.Before(m.nextAt)) {
		m.nextAt = at
	}
}

// decided is decide for an event before which the route was before.
func (m *Machine) decided(now time.Time, before Route) Decision {
	d := m.decide(now)
	d.Changed = m.route != before
	return d
}

func (m *Machine) decide(now time.Time) Decision {
	d := Decision{Route: m.route, Path: m.path}
	if !m.attempting && !m.nextAt.IsZero() && !now.Before(m.nextAt) {
		m.attempting, m.startedAt, m.nextAt = true, now, time.Time{}
		d.StartAttempt = true
	}
	return d
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
