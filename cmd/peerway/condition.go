package main

import "time"

const (
	checkAgain  = 30 * time.Second // between two looks at a service that does not answer
	checkSoon   = 3 * time.Second  // the same, where no stream could be opened
	checkRarely = 10 * time.Minute // at most, where looks find nothing wrong

	// A camera takes some time to notice that a session has ended.
	checkAfter = time.Second

	// A stream that is open for so long proves that the service answers: who waits for
	// nothing has left by then.
	provenAfter = 10 * time.Second
)

// A condition is what is known of a service: by looks at it, and by the streams to it. Nobody
// looks while there is one, for a look may take one of the few sessions that a camera has.
type condition struct {
	err    error     // why it does not answer; nil: it does
	looked time.Time // at it; zero: never
	seen   time.Time // that it was as err says
	again  time.Time // to be looked at; zero: no need

	open    int       // streams
	since   time.Time // when there was one, ever since
	doubted time.Time // when a stream failed last
	inVain  int       // looks in a row that found nothing wrong though streams fail
}

// opened takes note of a stream, whose end takes it off again.
func (c *condition) opened(now time.Time) {
	if c.open++; c.open == 1 {
		c.since = now
	}
}

// isProven reports whether the streams that are open say that the service answers.
func (c *condition) isProven(now time.Time) bool {
	return c.open > 0 && now.Sub(c.since) >= provenAfter
}

// next returns when something is to be done: a look, or, where streams have proved the
// contrary of what was known, nothing but to say so. Zero: never.
func (c *condition) next() time.Time {
	proven := c.since.Add(provenAfter)
	switch {
	case c.open > 0 && c.err != nil:
		return proven
	case c.open > 0 && !c.again.IsZero() && c.again.Before(proven):
		return proven
	}
	return c.again
}

// prove records that the streams which are open have proved that the service answers.
func (c *condition) prove(now time.Time) {
	c.err, c.looked, c.seen, c.again, c.inVain = nil, now, now, time.Time{}, 0
}

// found takes what came of a look that began then.
func (c *condition) found(err error, began, now time.Time) {
	if c.isProven(now) {
		c.prove(now)
		return
	}
	if err == nil && c.doubted.After(c.looked) {
		c.inVain++
	} else {
		c.inVain = 0
	}
	c.err, c.looked, c.seen, c.again = err, now, now, time.Time{}
	switch {
	case err != nil:
		c.again = now.Add(checkAgain)
	case c.doubted.After(began):
		c.again = c.after(checkSoon)
	}
}

// worked records that a stream has come to a good end. If nothing seemed to answer, a look
// will tell.
func (c *condition) worked(now time.Time) {
	if c.err == nil {
		c.seen, c.inVain = now, 0
	} else {
		c.again = now.Add(checkAfter)
	}
}

// failed records that a stream has not, or could not be opened, which may be the viewer's
// business: a look will tell, pause after the last one, or later if looks do not find what
// is wrong.
func (c *condition) failed(now time.Time, pause time.Duration) {
	c.doubted = now
	if c.err != nil || c.isProven(now) {
		return
	}
	at := c.after(pause)
	if soonest := now.Add(checkAfter); at.Before(soonest) {
		at = soonest
	}
	if c.again.IsZero() || at.Before(c.again) {
		c.again = at
	}
}

func (c *condition) after(pause time.Duration) time.Time {
	return c.looked.Add(min(pause<<min(c.inVain, 16), checkRarely))
}
