// Package path decides which paths carry the packets for a peer: the websocket of the
// signal server, which always works, a relay on UDP, or a direct path; and two of them
// while it is unsure.
//
// [Paths] is told what happened and what was heard, always with the time, and answers
// with a [Decision]. It looks at packets of the connection itself: that is the traffic
// that must not stall, and some networks pass that and not probes, or the other way
// round. Once it doubts a path it wants both.
//
// # Ownership
//
// The package is pure: no goroutines, no clocks, no I/O. What is in it belongs to one
// goroutine.
package path

import (
	"net/netip"
	"time"
)

// Interval is how often Tick wants to be called.
const Interval = 100 * time.Millisecond

const (
	// suspectAfter is the silence on a path, while packets go out on it, after
	// which they also go over the floor. loseAfter is the silence after which they
	// go over the floor only. A long round trip time stretches both.
	suspectAfter = 250 * time.Millisecond
	loseAfter    = 1500 * time.Millisecond

	// A path that is doubted three times within waryWithin must be well for waryFor before
	// packets go on it alone: one that comes and goes would cost a stall each time.
	waryWithin = 10 * time.Second
	waryFor    = 3 * time.Second

	// deafAfter takes the place of loseAfter while the floor is silent too. Then
	// the peer may hear us and answer in vain on the path: it notices when we
	// leave that.
	deafAfter = time.Second

	// asideFor is how long a lost path is not used at all, so that the peer notices.
	// If the floor is still silent then, packets go both ways again: a network that
	// fails as a whole comes back as a whole, and websockets are slow to notice.
	asideFor = 2 * time.Second

	// leftAfter is how long a peer that uses the floor must have been silent on
	// the path for it to have left that.
	leftAfter = 300 * time.Millisecond

	// While the peer talks over the floor, a path in use is asked each verifyEvery, and
	// must answer within verifyFor.
	verifyEvery = time.Second
	verifyFor   = 400 * time.Millisecond

	// A path that passes short packets only is not silent. It is in doubt when so many long
	// questions are not answered for so long.
	maxOwed = 3
	owedFor = 2 * time.Second

	// helpFor is how long packets also go over the floor after the peer has said
	// that it doubts the path: what it does not hear there may be ours.
	helpFor = 300 * time.Millisecond

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

	// stableAfter is the life after which a path has earned an immediate
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

// A Route is where packets for the peer go. With both they go twice. Without Addr,
// Floor is set.
type Route struct {
	Addr  netip.AddrPort // on the path
	Floor bool           // over what is below it
}

// An Observation tells when something last happened; zero means never.
type Observation struct {
	Heard    time.Time     // a packet of the connection, or what looks like one, on the path
	Answered time.Time     // a long question on the path, which nobody can forge
	OwedAt   time.Time     // since when such questions are not answered; zero: they are
	Owed     int           // how many
	RTT      time.Duration // as measured lately; 0: not known
	Doubted  time.Time     // by the peer, on the path
	Sent     time.Time     // a packet of the connection, on the path

	HeardFloor time.Time // a packet of the connection, over the floor
	SentFloor  time.Time
	Genuine    time.Time // a packet of the connection that was proven to be one, on any path
}

// A Verdict is what to do now.
type Verdict struct {
	Route

	// Changed is whether Route differs from that of the verdict before.
	Changed bool

	// InUse is whether the path is trusted, or was until a moment ago.
	InUse bool

	// Ask wants the peer to be asked on the path, and Doubt wants it to be told that its
	// own packets may not arrive there.
	Ask, Doubt bool

	// StartAttempt asks for a new attempt to find a path. It replaces one that is
	// still looking, which is closed without a report. The attempt behind the path in
	// use goes on until another is up.
	StartAttempt bool
}

type state int

const (
	floored state = iota // no path
	trial                // found, but nothing of the connection was heard on it: send on both
	inUse
	suspect // in use and silent: send on both
	spare   // put aside: the floor is better; see spare.go
)

// A Machine decides about one kind of path to one peer, with something below it to
// fall on: its floor.
type Machine struct {
	state state
	route Route
	addr  netip.AddrPort // of the path, unless floored; route has it while packets go there
	rtt   time.Duration

	upAt      time.Time    // when the path was found
	suspectAt time.Time    // when the state became suspect
	doubted   [2]time.Time // when it did so before, the oldest first
	wary      bool         // it does so often
	askedAt   time.Time    // when a question was wanted last
	verifyAt  time.Time    // since when a path in use owes an answer; zero: it does not
	sent      run          // packets and questions that the path owes an answer to
	overFloor run          // packets that the peer sent over the floor only

	aside    bool // the path is not wanted
	sentOver run  // packets that the floor owes an answer to; of a spare

	last   netip.AddrPort // the path that was lost; invalid once the floor was heard since
	lostAt time.Time

	attempting bool
	startedAt  time.Time // of the last attempt
	nextAt     time.Time // of the next attempt; zero if none is planned
	step       int       // index of retryDelays for the next pause
}

// New returns a machine that is on the floor. Its first Tick asks for an attempt.
func New() *Machine { return &Machine{route: Route{Floor: true}, nextAt: time.Unix(0, 0)} }

// Up says that a path to addr was found. Packets go both ways until the connection
// itself was heard on it.
func (m *Machine) Up(now time.Time, addr netip.AddrPort, rtt time.Duration) Verdict {
	before := m.route
	m.attempting, m.nextAt = false, time.Time{}
	m.rtt = min(rtt, maxRTT)
	if m.state == floored || m.addr != addr {
		m.addr, m.last = addr, netip.AddrPort{}
		m.try(now)
	}
	return m.decided(now, before)
}

// try begins to use the path, if it is wanted.
func (m *Machine) try(now time.Time) {
	m.state, m.route = trial, Route{Addr: m.addr, Floor: true}
	m.begin(now)
	if m.aside {
		m.rest()
	}
}

// begin makes the path a new one.
func (m *Machine) begin(now time.Time) {
	m.upAt, m.askedAt, m.verifyAt, m.sent, m.overFloor = now, time.Time{}, time.Time{}, run{}, run{}
}

// Down says that who found the path has lost it.
func (m *Machine) Down(now time.Time) Verdict {
	before := m.route
	if m.state != floored {
		m.lose(now)
	}
	return m.decided(now, before)
}

// Unattended says that who found the path has given it up, though the peer answers on it:
// it must be found anew.
func (m *Machine) Unattended(now time.Time) Verdict {
	m.plan(now)
	return m.decided(now, m.route)
}

// AttemptBegun says that an attempt has begun, whether it was asked for or not.
func (m *Machine) AttemptBegun(now time.Time) {
	m.attempting, m.startedAt, m.nextAt = true, now, time.Time{}
}

// AttemptEnded says that the attempt that was asked for last is over. If it
// found a path, Up has said so before, and this changes nothing.
func (m *Machine) AttemptEnded(now time.Time) Verdict {
	if m.attempting {
		m.attempting = false
		m.attemptFailed(now)
	}
	return m.decided(now, m.route)
}

// NetworkChanged says that addresses or routes of this host changed. A path in use is
// under suspicion until it is heard from.
func (m *Machine) NetworkChanged(now time.Time) Verdict {
	before := m.route
	if m.state == inUse {
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
func (m *Machine) Tick(now time.Time, seen Observation) Verdict {
	before := m.route
	if seen.RTT > 0 {
		m.rtt = min(seen.RTT, maxRTT)
	}
	heard := m.heard(seen)
	m.note(seen, heard)
	switch {
	case m.state == floored:
	case m.state == spare:
		m.keepSpare(now, seen)
	case m.lost(now, seen):
		m.lose(now)
	case m.state == inUse && m.silent(now, seen, heard):
		m.suspectNow(now)
	case m.state == suspect && m.wary && m.unanswered(now, max(suspectAfter/2, 2*m.rtt), askedFor):
		m.suspectAt = now // again, and sooner than the first time
	case m.state == suspect && m.wary && now.Sub(m.suspectAt) < waryFor:
	case m.state == suspect && heard.After(m.suspectAt), m.state == trial && heard.After(m.upAt):
		m.state = inUse
	}
	if m.state == inUse {
		m.route.Floor = now.Sub(seen.Doubted) < helpFor
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

// heard returns when the peer was heard on the path for certain. What looks like a
// packet of the connection may be somebody else's: while the path is trusted, it counts
// if one was proven since. In doubt a question must have been answered; and packets too,
// if some were sent.
func (m *Machine) heard(seen Observation) time.Time {
	switch {
	case m.state == inUse:
		return earlier(seen.Heard, seen.Genuine)
	case m.state == trial && !seen.Sent.After(m.upAt), m.state == suspect && !seen.Sent.After(m.suspectAt):
		return seen.Answered
	}
	return earlier(seen.Heard, seen.Answered)
}

// doubts reports whether the path is in doubt, or looked back at.
func (m *Machine) doubts() bool {
	return m.state == trial || m.state == suspect || m.last.IsValid() && m.route.Addr.IsValid()
}

// note follows the runs of packets that say something about the path.
func (m *Machine) note(seen Observation, heard time.Time) {
	if m.state != floored {
		heard, gap := later(heard, m.upAt), max(pause, 4*m.rtt)
		m.sent.note(later(seen.Sent, m.askedAt), heard, gap)
		m.overFloor.note(seen.HeardFloor, heard, gap)
	}
}

// A run is a sequence of packets without a long pause, since the path was last heard.
type run struct{ first, last time.Time }

// note adds a packet seen at a time to the run. A new one begins after a gap,
// and when the path was heard since it began.
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

// unanswered reports whether packets were sent on the path for at least
// long, the first of them at least since ago, and nothing came back.
func (m *Machine) unanswered(now time.Time, since, long time.Duration) bool {
	return m.sent.length() >= long && now.Sub(m.sent.first) >= since
}

// silent reports whether the path is quiet where it should not be: it does not answer,
// or the peer talks over the floor.
func (m *Machine) silent(now time.Time, seen Observation, heard time.Time) bool {
	return m.unanswered(now, max(suspectAfter, 2*m.rtt), askedFor) ||
		seen.Owed >= maxOwed && now.Sub(seen.OwedAt) >= owedFor+2*m.rtt ||
		seen.HeardFloor.Sub(later(heard, m.upAt)) >= leftAfter ||
		m.fails(now, seen)
}

// fails reports whether the path does not answer a question that is asked when the peer
// talks over the floor: then what is heard on the path may be somebody else's.
func (m *Machine) fails(now time.Time, seen Observation) bool {
	since := later(seen.Answered, m.upAt)
	if !seen.HeardFloor.After(m.upAt) || now.Sub(seen.HeardFloor) > leftAfter || now.Sub(since) < verifyEvery {
		m.verifyAt = time.Time{}
		return false
	}
	if m.verifyAt.IsZero() {
		m.verifyAt = now
	}
	return now.Sub(m.verifyAt) >= max(verifyFor, 4*m.rtt)
}

// lost reports whether a path in doubt is dead: it did not answer for long, or the peer
// has used the floor for long.
func (m *Machine) lost(now time.Time, seen Observation) bool {
	if m.state == inUse {
		return false
	}
	after := max(loseAfter, 5*m.rtt)
	deaf := m.state == suspect && !seen.HeardFloor.After(m.sent.first)
	return m.unansweredInDoubt(now, after) ||
		deaf && m.unansweredInDoubt(now, max(deafAfter, 4*m.rtt)) ||
		m.state == suspect && m.overFloor.length() >= after
}

// unansweredInDoubt reports whether the path has not answered for so long, and was in doubt,
// and asked, for half of that: of few packets in a long time one may be lost.
func (m *Machine) unansweredInDoubt(now time.Time, since time.Duration) bool {
	doubted := now.Sub(m.upAt)
	if m.state == suspect {
		doubted = now.Sub(m.suspectAt)
	}
	return m.unanswered(now, since, pressedFor) && doubted >= since/2
}

func (m *Machine) suspectNow(now time.Time) {
	m.wary = now.Sub(m.doubted[0]) < waryWithin
	m.doubted = [2]time.Time{m.doubted[1], now}
	m.state, m.suspectAt, m.verifyAt = suspect, now, time.Time{}
	m.route.Floor = true
}

// lookBack takes the lost path into use again if the floor stays as silent as it.
func (m *Machine) lookBack(now time.Time, seen Observation) {
	switch {
	case seen.HeardFloor.After(m.lostAt):
		m.last, m.route = netip.AddrPort{}, Route{Floor: true}
	case now.Sub(m.lostAt) < asideFor:
	case seen.Answered.After(m.lostAt):
		m.state = inUse
		m.addr, m.last = m.last, netip.AddrPort{}
		m.route = Route{Addr: m.addr}
		m.begin(now)
		if m.aside {
			m.rest()
		}
		m.plan(now) // who found it has given it up, and must prove it anew
	default:
		m.route.Addr = m.last
	}
}

// lose leaves the path and plans an attempt: at once after a stable one, else at the
// next step.
func (m *Machine) lose(now time.Time) {
	m.last, m.lostAt = m.addr, now
	m.state = floored
	m.route = Route{Floor: true}
	if now.Sub(m.upAt) < stableAfter {
		m.attemptFailed(now)
		return
	}
	m.step = 0
	m.plan(now)
}

// attemptFailed plans the next attempt, unless a path is in use.
func (m *Machine) attemptFailed(now time.Time) {
	if m.state == floored {
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
func (m *Machine) decided(now time.Time, before Route) Verdict {
	v := m.decide(now)
	v.Changed = m.route != before
	return v
}

func (m *Machine) decide(now time.Time) Verdict {
	v := Verdict{Route: m.route, InUse: m.state == inUse || m.state == suspect, Doubt: m.doubts()}
	v.Ask = v.Doubt || m.state == inUse && !m.verifyAt.IsZero()
	if v.Doubt {
		m.askedAt = now
	}
	if !m.attempting && !m.nextAt.IsZero() && !now.Before(m.nextAt) {
		m.attempting, m.startedAt, m.nextAt = true, now, time.Time{}
		v.StartAttempt = true
	}
	return v
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
