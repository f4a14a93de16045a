package bbr

import "time"

// rounds counts packet-timed round trips (section 5.5.1).
type rounds struct {
	next    int64 // BBR.next_round_delivered
	count   int64
	started bool // BBR.round_start: by the event at hand

	// Since the round has started:
	delivered, lost int64         // the sampler's counts then
	rtt             time.Duration // the sum of its samples
	samples         int64
	prompt          time.Duration // the sum of those of more than one packet: the receiver has not kept them back
	prompts         int64
	shortest        time.Duration

	mean, least time.Duration // round trip, of the round before
	typical     typical
}

// updateRound is UpdateRound. At the end of a round the path's noise is learned.
func (c *Controller) updateRound() {
	r := &c.rounds
	r.rtt += c.sample.rtt
	r.samples++
	if r.shortest == 0 || c.sample.rtt < r.shortest {
		r.shortest = c.sample.rtt
	}
	if c.sample.acked > c.smss {
		r.prompt += c.sample.rtt
		r.prompts++
	}
	r.started = c.sample.before >= r.next
	if !r.started {
		return
	}
	r.mean, r.least = r.rtt/time.Duration(r.samples), r.shortest
	r.typical.update(c.sampler.deliveredAt, r.mean)
	c.seeQueue(c.sampler.deliveredAt)
	r.rtt, r.samples, r.prompt, r.prompts, r.shortest = 0, 0, 0, 0, 0
	c.startRound()
	r.count++
	c.cycle.rounds++
	c.fullWindow = [2]bool{false, c.fullWindow[0]}
	c.learn(c.sampler.deliveredAt, r.mean, c.sampler.lost-r.lost, c.sampler.delivered-r.delivered)
	r.delivered, r.lost = c.sampler.delivered, c.sampler.lost
}

func (c *Controller) startRound() { c.rounds.next = c.sampler.delivered }

// windowLimited is C.is_cwnd_limited: the window was full at some point in this
// round or the last.
func (c *Controller) windowLimited() bool { return c.fullWindow[0] || c.fullWindow[1] }

// bandwidths is the max filter over this and the previous cycle (sections 5.5.3
// and 5.5.6).
type bandwidths struct{ previous, current int64 }

func (b *bandwidths) max() int64 { return max(b.previous, b.current) }

// advance is AdvanceMaxBwFilter. A cycle without samples changes nothing.
func (b *bandwidths) advance() {
	if b.current != 0 {
		b.previous, b.current = b.current, 0
	}
}

// updateMaxBW is UpdateMaxBw (section 5.5.5).
func (c *Controller) updateMaxBW() {
	c.updateRound()
	rate := c.sample.rate
	if rate > 0 && (rate >= c.maxBW.max() || !c.sample.appLimited) {
		c.maxBW.current = max(c.maxBW.current, rate)
	}
	if now := c.sampler.deliveredAt; c.pipe.reached && c.decline.see(now, rate, c.maxBW.max()) {
		c.maxBW = bandwidths{c.decline.best, c.decline.best}
		c.decline = decline{}
	}
}

// A decline is a time in which the path has delivered less than half of what the
// filter holds, though the application had more to send. The filter forgets a rate
// when two cycles are over, and they advance with rounds. Where the rate falls
// while the queue is deep, a round lasts longer than the clock of a cycle and than
// what lies between two looks at an empty queue: then it would never forget.
type decline struct {
	since Time  // the first such sample; 0: there is no decline
	best  int64 // of them
}

// declineFor is longer than the draft takes where rounds are short.
const declineFor = 4 * time.Second

// see takes a sample. It reports whether the filter is out of date.
func (d *decline) see(now Time, rate, held int64) bool {
	switch {
	case rate <= 0:
	case rate >= held/2:
		*d = decline{}
	case d.since == 0:
		*d = decline{since: now, best: rate}
	default:
		d.best = max(d.best, rate)
		return now-d.since >= declineFor
	}
	return false
}

// shortest is the min filter of the round trip, and when to probe for it
// (section 5.3.4.3).
type shortest struct {
	rtt      time.Duration // BBR.min_rtt; 0: unknown
	at       Time
	probed   time.Duration // BBR.probe_rtt_min_delay; 0: unknown
	probedAt Time
}

const (
	minRTTFilter     = 10 * time.Second       // MinRTTFilterLen
	probeRTTInterval = 5 * time.Second        // ProbeRTTInterval
	probeRTTDuration = 200 * time.Millisecond // ProbeRTTDuration
	// By one emptyWithin-th of the shortest round trip and emptyTimer another may be
	// longer and show an empty queue too: timers are not more exact.
	emptyWithin = 16
	emptyTimer  = 200 * time.Microsecond
	// movedProbe is when it is due after a change of path: what comes from the old
	// one may stand in the queue of the new one.
	movedProbe = time.Second
)

func newShortest(rtt time.Duration, now Time) shortest {
	return shortest{rtt: max(rtt, 0), at: now, probedAt: now}
}

func (s *shortest) known() time.Duration { return s.rtt }

// update is UpdateMinRTT. It reports whether the last look at an empty queue is
// too long ago (BBR.probe_rtt_expired).
func (s *shortest) update(now Time, rtt time.Duration) (expired bool) {
	expired = now > s.probedAt+probeRTTInterval
	switch {
	case s.probed == 0 || rtt < s.probed || expired:
		s.probed, s.probedAt = rtt, now
	case rtt <= s.probed+s.probed/emptyWithin+emptyTimer: // an empty queue as well, and nothing to learn
		s.probedAt = now
	}
	if s.rtt == 0 || s.probed < s.rtt || now > s.at+minRTTFilter {
		s.rtt, s.at = s.probed, s.probedAt
	} else if s.probed == s.rtt {
		s.at = s.probedAt
	}
	return expired
}

// A typical round trip is the smallest mean of a round in 5 to 10 s: what a
// packet takes when the queue is empty, with the path's jitter. The draft counts
// on the shortest, which on Wi-Fi is half of that or less, and would keep too
// little in flight. DOWN and ProbeRTT see to it that there is such a round.
type typical struct {
	previous, current time.Duration // of two spans of time; 0: none
	since             Time          // when the current one began
	begun             bool          // there was one
	hasty             bool          // the current one is the first of all, of a single packet
}

// settle forgets what one packet alone has said, now that the queue is short.
func (t *typical) settle() {
	if t.hasty {
		*t = typical{since: t.since, begun: true}
	}
}

func (t *typical) update(now Time, mean time.Duration) {
	if now-t.since >= minRTTFilter/2 {
		t.previous, t.current, t.since = t.current, 0, now
	}
	if t.current == 0 || mean < t.current {
		t.current, t.hasty, t.begun = mean, !t.begun, true
	}
}

// typicalRTT returns the round trip without a queue; 0: unknown.
func (c *Controller) typicalRTT() time.Duration {
	rtt, t := c.rounds.typical.current, c.rounds.typical.previous
	if rtt == 0 || t != 0 && t < rtt {
		rtt = t
	}
	return max(c.minRTT.known(), rtt)
}

// aggregation estimates how much is acknowledged in clumps (section 5.5.9).
type aggregation struct {
	since     Time  // BBR.extra_acked_interval_start
	delivered int64 // BBR.extra_acked_delivered, since then
	filter    windowedMax
}

const extraAckedRounds = 10 // ExtraAckedFilterLen

// update is UpdateACKAggregation.
func (a *aggregation) update(now Time, bw, acked, window, round int64, reached bool) {
	expected := during(bw, now-a.since)
	if a.delivered <= expected {
		a.delivered, a.since, expected = 0, now, 0
	}
	a.delivered += acked
	length := int64(extraAckedRounds)
	if !reached {
		length = 1
	}
	a.filter.update(min(a.delivered-expected, window), round, length)
}

func (a *aggregation) bytes() int64 { return a.filter.best[0].value }

// A windowedMax is the maximum over the last rounds, by Kathleen Nichols'
// algorithm: the best three values, each younger than the one before.
type windowedMax struct{ best [3]struct{ value, at int64 } }

func (w *windowedMax) update(value, at, length int64) {
	b := &w.best
	newest := struct{ value, at int64 }{value, at}
	if value >= b[0].value || at-b[2].at > length {
		b[0], b[1], b[2] = newest, newest, newest
		return
	}
	if value >= b[1].value {
		b[1], b[2] = newest, newest
	} else if value >= b[2].value {
		b[2] = newest
	}
	switch age := at - b[0].at; {
	case age > length:
		b[0], b[1], b[2] = b[1], b[2], newest
		if at-b[0].at > length {
			b[0], b[1], b[2] = b[1], b[2], newest
		}
	case b[1].at == b[0].at && age > length/4:
		b[1], b[2] = newest, newest
	case b[2].at == b[1].at && age > length/2:
		b[2] = newest
	}
}
