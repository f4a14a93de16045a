package tunnel

import "time"

// An idleClock decides when a tunnel that carries no stream ends, so that no
// stream is ever opened on a tunnel that the other end is closing: the end that
// has waited long enough asks, and the other agrees only if it, too, has no
// stream. It holds no clock: every method is told the time.
//
//	         linger over              agreed
//	counting ───────────► asking ───────────────► over
//	    ▲                   │ ▲                     ▲
//	    └─────refused───────┘ └ other end asks, no streams here
//
// While asking, and after, no stream may be opened here.
type idleClock struct {
	linger     time.Duration // without a stream, before asking
	answerIn   time.Duration // for the other end to answer
	phase      idlePhase
	live       int
	emptySince time.Time // since when live is 0
	askedAt    time.Time
}

type idlePhase uint8

const (
	counting idlePhase = iota // streams may be opened
	asking                    // the other end was asked and has not answered
	over                      // both ends agreed: no stream will be opened
)

// streams records that n streams are live at now.
func (c *idleClock) streams(n int, now time.Time) {
	if n == 0 && (c.live != 0 || c.emptySince.IsZero()) {
		c.emptySince = now
	}
	c.live = n
}

// mayOpen reports whether a stream may be opened now.
func (c *idleClock) mayOpen() bool { return c.phase == counting }

// due returns when tick wants to be called next; zero means never.
func (c *idleClock) due() time.Time {
	switch {
	case c.phase == asking:
		return c.askedAt.Add(c.answerIn)
	case c.phase == counting && c.live == 0 && !c.emptySince.IsZero():
		return c.emptySince.Add(c.linger)
	}
	return time.Time{}
}

// tick reports whether the other end must be asked now. It also ends the phase
// asking, with the tunnel over, when the other end has not answered: a peer that
// does not answer has no use for the tunnel.
func (c *idleClock) tick(now time.Time) (ask bool) {
	if at := c.due(); at.IsZero() || now.Before(at) {
		return false
	}
	if c.phase == asking {
		c.phase = over
		return false
	}
	c.phase, c.askedAt = asking, now
	return true
}

// asked is called when the other end wants to close. It reports whether this
// end agrees; then the tunnel is over.
func (c *idleClock) asked() (agree bool) {
	if c.live > 0 {
		return false
	}
	c.phase = over
	return true
}

// answered is called when the other end has answered that it agrees or not.
func (c *idleClock) answered(agree bool, now time.Time) {
	if c.phase != asking {
		return
	}
	if agree {
		c.phase = over
		return
	}
	c.phase, c.emptySince = counting, now
}
