package bbr

import "time"

// loss is what the controller knows of the loss round at hand (section
// 5.5.10.3): it begins with the first loss and lasts a round trip.
type loss struct {
	end       int64         // BBR.loss_round_delivered: when so much had been delivered as a packet was sent
	ended     bool          // BBR.loss_round_start: by the event at hand
	seen      bool          // BBR.is_loss_in_round
	ranges    int           // of packet numbers lost in the round
	marked    bool          // congestion experienced
	delivered int64         // the sampler's count at its start
	lost      int64         // bytes, in it
	rtt       time.Duration // the sum of its samples: of packets sent about when the lost ones were
	samples   int64

	// Of the round that has just ended:
	excess     bool // it lost too much
	manyRanges bool // and in many places
	severe     bool // a third, which is no noise

	// Of what arrives:
	bwLatest       int64 // BBR.bw_latest
	inflightLatest int64 // BBR.inflight_latest
	sags           int   // rounds in a row in which it was much less than the model's
	crowds         int   // rounds in a row in which others had a part of it
	calmAt         Time  // the end of the last round in which they had not
	yielded        bool  // to them, since the bounds were reset
	drained        bool  // once, since then
}

const (
	beta              = 0.7 // Beta
	sagged            = 0.75
	crowded           = 0.9
	crowdedRounds     = 5                      // in DOWN, which has a queue of its own to get rid of
	crowdedFor        = 200 * time.Millisecond // less is a link that paused
	yield             = 0.85
	drains            = 0.9 // of what arrives, so that the queue gets shorter
	startupLossRanges = 6   // BBRStartupFullLossCnt
)

// lostPackets is HandleLostPacket for all packets of an event (section
// 5.5.10.2).
func (c *Controller) lostPackets(now Time, packets []Packet) {
	previous := int64(-2)
	for _, p := range packets {
		r, ok := c.sampler.records.take(p.Number)
		if !ok || r.epoch != c.sampler.epoch {
			continue
		}
		c.sampler.lost += r.size
		if !r.pushed || c.phase.accelerates() { // what a probe has lost is no reason to slow down after it
			c.noteLoss()
			if r.number != previous+1 {
				c.loss.ranges++
			}
			c.loss.lost += r.size
		}
		previous = r.number
		if !c.cycle.probing {
			continue
		}
		lost := c.sampler.lost - r.lost
		if c.noise.tooMuch(lost, r.inflight, c.smss) {
			c.inflightTooHigh(now, c.inflightAtLoss(&r, lost), r.appLimited)
		}
	}
	if c.loss.marked {
		c.noteLoss()
		if c.cycle.probing && c.sample.ok {
			c.inflightTooHigh(now, c.sample.inflight, c.sample.appLimited)
		}
	}
}

// noteLoss is NoteLoss.
func (c *Controller) noteLoss() {
	if c.loss.seen {
		return
	}
	c.loss.seen = true
	c.loss.end = c.sampler.delivered
	c.loss.delivered, c.loss.lost, c.loss.ranges = c.sampler.delivered, 0, 0
	c.loss.rtt, c.loss.samples = 0, 0
}

// inflightAtLoss is InflightAtLoss: what was in flight when loss became too
// much, in the middle of a burst perhaps.
func (c *Controller) inflightAtLoss(r *record, lost int64) int64 {
	threshold := c.noise.limit(r.inflight, c.smss)
	inflightBefore, lostBefore := r.inflight-r.size, lost-r.size
	prefix := (threshold*float64(inflightBefore) - float64(lostBefore)) / (1 - threshold)
	return max(inflightBefore+int64(max(prefix, 0)), 0)
}

// inflightTooHigh is HandleInflightTooHigh.
func (c *Controller) inflightTooHigh(now Time, inflight int64, appLimited bool) {
	c.cycle.tooHigh = true
	c.cycle.probing = false // one answer to each probe
	if !appLimited {
		c.inflightLong = max(inflight, int64(beta*float64(c.targetInflight())))
	}
	if c.phase == up {
		c.startDown(now)
	}
}

// updateLatest is UpdateLatestDeliverySignals (section 5.5.10.3).
func (c *Controller) updateLatest() {
	l := &c.loss
	l.ended = false
	l.rtt += c.sample.rtt
	l.samples++
	l.bwLatest = max(l.bwLatest, c.sample.rate)
	l.inflightLatest = max(l.inflightLatest, c.sample.delivered)
	if c.sample.before >= l.end {
		l.end = c.sampler.delivered
		l.ended = true
	}
}

// advanceLatest is AdvanceLatestDeliverySignals.
func (c *Controller) advanceLatest() {
	if c.loss.ended {
		c.loss.bwLatest, c.loss.inflightLatest = c.sample.rate, c.sample.delivered
	}
}

// resetCongestion is ResetCongestionSignals.
func (c *Controller) resetCongestion() {
	c.loss.seen = false
	c.loss.bwLatest, c.loss.inflightLatest = 0, 0
}

// updateCongestion is UpdateCongestionSignals.
func (c *Controller) updateCongestion() {
	c.updateMaxBW()
	l := &c.loss
	l.excess, l.manyRanges, l.severe = false, false, false
	if !l.ended {
		return
	}
	if l.seen {
		lost, delivered := l.lost, c.sampler.delivered-l.delivered
		l.excess = l.marked || c.noise.excessive(lost, lost+delivered, c.smss) && !c.innocent(lost, delivered)
		l.manyRanges = l.marked || l.ranges >= startupLossRanges
		l.severe = l.marked || c.noise.severe(lost, lost+delivered, c.smss)
	}
	if c.phase != probeRTT && c.cycle.ackPhase == acksInit && c.arrivesLess(sagged) {
		l.sags++
	} else {
		l.sags = 0
	}
	if (c.phase == down || c.phase == cruise) && c.cycle.ackPhase == acksInit && c.arrivesLess(crowded) {
		l.crowds++
	} else {
		l.crowds, l.calmAt = 0, c.sampler.deliveredAt
	}
	if (l.excess || l.sags >= 2) && // one round may be a clump of acknowledgements
		!c.phase.accelerates() { // AdaptLowerBoundsFromCongestion
		c.lowerBounds()
	}
	if (l.crowds >= crowdedRounds || l.crowds >= 2 && c.phase == cruise) &&
		c.sampler.deliveredAt-l.calmAt >= crowdedFor && !l.yielded &&
		c.targetInflight() > probeRounds*c.smss { // else probes are frequent, and shares even without
		l.yielded = true
		c.bwShort = min(c.bwShort, int64(yield*float64(l.bwLatest)))
	}
	l.seen, l.marked = false, false
}

// innocent reports whether what was lost of a round in which so much was delivered
// was not lost in a queue: that of this path shows itself, and it was short.
func (c *Controller) innocent(lost, delivered int64) bool {
	l := &c.loss
	return c.noise.deep && l.samples > 0 && c.shortQueue(l.rtt/time.Duration(l.samples)) &&
		float64(lost) <= byChance(maxNoise, lost+delivered, c.smss)*float64(lost+delivered)
}

// arrivesLess reports whether less than share of the bandwidth of the model arrives,
// and a queue stands. Either the path has become slower, where the draft waits for
// loss, or for two cycles; or other flows have a part of it. Each flow overestimates
// its part a little, and what is too much stands in the queue, in which a probe
// finds no room: then a flow that came late has to wait for minutes until it has as
// much as the others. So all of them yield a little, once in each cycle, in CRUISE
// or when DOWN does not end.
func (c *Controller) arrivesLess(share float64) bool {
	return c.pipe.reached && !c.sample.appLimited &&
		float64(c.loss.bwLatest) < share*float64(c.bw) && c.standingQueue()
}

// lowerBounds is InitLowerBounds and LossLowerBounds: slow down towards what was
// delivered in the last round; in CRUISE, if a queue stands, once below that, so that
// it gets shorter. In DOWN the queue is that of the flow's own probe.
func (c *Controller) lowerBounds() {
	if c.bwShort == infinity {
		c.bwShort = c.maxBW.max()
	}
	if c.inflightShort == infinity {
		c.inflightShort = c.window
	}
	bound := float64(c.loss.bwLatest)
	if c.phase == cruise && c.standingQueue() && !c.loss.drained {
		bound *= drains
	}
	c.bwShort = min(c.bwShort, max(int64(bound), int64(beta*float64(c.bwShort))))
	// What arrives next is less, and not to be lowered again.
	c.loss.drained = c.loss.drained || c.bwShort < c.loss.bwLatest
	c.inflightShort = max(c.loss.inflightLatest, int64(beta*float64(c.inflightShort)))
}

// resetShortTerm is ResetShortTermModel.
func (c *Controller) resetShortTerm() {
	c.bwShort, c.inflightShort = infinity, infinity
	c.loss.yielded, c.loss.drained = false, false
}
