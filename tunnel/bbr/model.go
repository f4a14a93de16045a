package bbr

import "time"

// rounds counts packet-timed round trips (section 5.5.1).
type rounds struct {
	next    int64 // BBR.next_round_delivered
	count   int64
	started bool // BBR.round_start: by the event at hand

	// Since the round has started:
	delivered, lost int64 // the sampler's counts then
	rtt             time.Duration
	sum             time.Duration
	samples         int64

	shortest time.Duration // of the round before
	jitter   time.Duration // smoothed: mean less shortest of a round
}

// updateRound is UpdateRound. At the end of a round the path's noise is learned.
func (c *Controller) updateRound() {
	r := &c.rounds
	if r.rtt == 0 || c.sample.rtt < r.rtt {
		r.rtt = c.sample.rtt
	}
	r.sum += c.sample.rtt
	r.samples++
	r.started = c.sample.before >= r.next
	if !r.started {
		return
	}
	if c.cycle.ackPhase == acksInit && (c.phase == cruise || c.phase == down) {
		r.jitter += (r.sum/time.Duration(r.samples) - r.rtt - r.jitter) / 8
	}
	r.shortest, r.sum, r.samples = r.rtt, 0, 0
	c.startRound()
	r.count++
	c.cycle.rounds++
	c.fullWindow = [2]bool{false, c.fullWindow[0]}
	if c.quiet(r.rtt) {
		c.noise.learn(c.sampler.lost-r.lost, c.sampler.delivered-r.delivered, c.smss)
	}
	r.delivered, r.lost, r.rtt = c.sampler.delivered, c.sampler.lost, 0
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
	if rate := c.sample.rate; rate > 0 && (rate >= c.maxBW.max() || !c.sample.appLimited) {
		c.maxBW.current = max(c.maxBW.current, rate)
	}
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
)

func newShortest(rtt time.Duration, now Time) shortest {
	return shortest{rtt: rtt, at: now, probedAt: now}
}

func (s *shortest) known() time.Duration { return s.rtt }

// update is UpdateMinRTT. It reports whether the last look at an empty queue is
// too long ago (BBR.probe_rtt_expired).
func (s *shortest) update(now Time, rtt time.Duration) (expired bool) {
	expired = now > s.probedAt+probeRTTInterval
	switch {
	case s.probed == 0 || rtt < s.probed || expired:
		s.probed, s.probedAt = rtt, now
	case rtt <= s.probed+s.probed/64: // an empty queue as well, and nothing to learn
		s.probedAt = now
	}
	if s.rtt == 0 || s.probed < s.rtt || now > s.at+minRTTFilter {
		s.rtt, s.at = s.probed, s.probedAt
	} else if s.probed == s.rtt {
		s.at = s.probedAt
	}
	return expired
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
