package bbr

import "time"

// An ackPhase says what the acknowledgements of the moment mean for probing
// (BBR.ack_phase).
type ackPhase uint8

const (
	acksInit      ackPhase = iota // nothing is probed
	acksRefilling                 // the pipe is being filled
	acksStarting                  // a probe has begun
	acksFeedback                  // of a probe
	acksStopping                  // still of a probe that has ended
)

// A cycle is the state of ProbeBW (section 5.3.3) and ProbeRTT.
type cycle struct {
	ackPhase     ackPhase
	began        Time          // BBR.cycle_stamp
	wait         time.Duration // BBR.bw_probe_wait
	rounds       int64         // BBR.rounds_since_probe_up
	upRounds     int           // BBR.bw_probe_up_rounds
	upAcked      int64         // BBR.bw_probe_up_acked
	perIncrement int64         // BBR.probe_up_acked_per_inc
	probing      bool          // BBR.is_bw_probe_sample
	tooHigh      bool          // BBR.prev_probe_too_high
	careful      bool          // BBR.prev_probe_precautionary

	probeRTTBy    Time // the first one after a change of path; 0: is over, or there was none
	probeRTTDone  Time // BBR.probe_rtt_done_stamp; 0: not yet known
	probeRTTRound bool // BBR.probe_rtt_round_done
}

const (
	headroom    = 0.15 // Headroom
	probeRounds = 63   // at most, from one probe to the next
	calmRounds  = 8    // at least, unless the time is over: Reno would have others, but noise is learned in them
)

// startDown is StartProbeBW_DOWN (section 5.3.3.9).
func (c *Controller) startDown(now Time) {
	c.resetCongestion()
	y := &c.cycle
	y.perIncrement = infinity
	y.rounds = int64(2 * c.rand()) // PickProbeWait (section 5.3.3.8.3): 0 or 1
	y.wait = seconds(2 + c.rand())
	y.began = now
	y.ackPhase = acksStopping
	c.startRound()
	c.phase = down
}

// startRefill is StartProbeBW_REFILL.
func (c *Controller) startRefill() {
	c.resetShortTerm()
	y := &c.cycle
	y.upRounds, y.upAcked = 0, 0
	y.careful = false
	y.ackPhase = acksRefilling
	c.startRound()
	c.phase = refill
}

// startUp is StartProbeBW_UP.
func (c *Controller) startUp() {
	c.cycle.ackPhase = acksStarting
	c.startRound()
	c.pipe.look(c.sample.rate)
	c.phase = up
	c.raiseSlope()
}

// updateCycle is UpdateProbeBWCyclePhase.
func (c *Controller) updateCycle(now Time) {
	if !c.pipe.reached || c.adaptLongTerm() {
		return
	}
	switch c.phase {
	case down:
		if c.timeToProbe(now) {
			c.startRefill()
		} else if c.timeToCruise() {
			c.phase = cruise
			c.rounds.typical.settle()
			c.loss.crowds, c.loss.calmAt = 0, now
		}
	case cruise:
		if c.timeToProbe(now) {
			c.startRefill()
		}
	case refill:
		if c.rounds.started {
			c.cycle.probing = true
			c.startUp()
		}
	case up:
		if c.timeToGoDown() {
			c.cycle.tooHigh = false // not yet
			c.startDown(now)
		}
	}
}

// timeToProbe is IsTimeToProbeBW (section 5.3.3.8.3): by the clock, or as often
// as Reno would.
func (c *Controller) timeToProbe(now Time) bool {
	return now > c.cycle.began+c.cycle.wait ||
		c.cycle.rounds >= min(max(c.targetInflight()/c.smss, calmRounds), probeRounds)
}

// timeToCruise is IsTimeToCruise.
func (c *Controller) timeToCruise() bool {
	return c.inflight <= c.withHeadroom() && c.inflight <= c.quantized(c.bdpOf(c.maxBW.max(), 1))
}

// timeToGoDown is IsTimeToGoDown.
func (c *Controller) timeToGoDown() bool {
	if c.cycle.tooHigh && c.inflight >= c.inflightLong {
		c.cycle.careful = true
		return true
	}
	if c.windowLimited() && c.window >= c.inflightLong && c.shortQueue(c.rounds.mean) {
		c.pipe.look(c.sample.rate) // it is the bound that keeps the rate from growing
		return false
	}
	return c.pipe.now
}

// targetInflight is TargetInflight.
func (c *Controller) targetInflight() int64 { return min(c.bdp(1), c.window) }

// withHeadroom is InflightWithHeadroom.
func (c *Controller) withHeadroom() int64 {
	if c.inflightLong == infinity {
		return infinity
	}
	free := max(c.smss, int64(headroom*float64(c.inflightLong)))
	return max(c.inflightLong-free, c.minWindow())
}

// raiseSlope is RaiseInflightLongtermSlope.
func (c *Controller) raiseSlope() {
	y := &c.cycle
	growth := int64(1) << y.upRounds
	y.upRounds = min(y.upRounds+1, 30)
	y.perIncrement = max(c.window/growth, c.smss)
}

// probeUpward is ProbeInflightLongtermUpward.
func (c *Controller) probeUpward() {
	if !c.windowLimited() || c.window < c.inflightLong {
		return
	}
	y := &c.cycle
	y.upAcked += c.sample.acked
	if y.upAcked >= y.perIncrement {
		increments := y.upAcked / y.perIncrement
		y.upAcked -= increments * y.perIncrement
		c.inflightLong += increments * c.smss
	}
	if c.rounds.started {
		c.raiseSlope()
	}
}

// adaptLongTerm is AdaptLongTermModel. It reports whether it has changed the
// phase.
func (c *Controller) adaptLongTerm() bool {
	y := &c.cycle
	if y.ackPhase == acksStarting && c.rounds.started {
		y.ackPhase = acksFeedback
	}
	if y.ackPhase == acksStopping && c.rounds.started {
		y.probing = false
		y.ackPhase = acksInit
		if c.phase.probesBandwidth() {
			if !c.sample.appLimited {
				c.maxBW.advance()
			}
			if y.careful && !y.tooHigh {
				c.startRefill()
				return true
			}
		}
	}
	if c.inflightLong == infinity || c.noise.tooMuch(c.sample.lost, c.sample.inflight, c.smss) {
		return false
	}
	c.inflightLong = max(c.inflightLong, c.sample.inflight)
	if c.phase == up {
		c.probeUpward()
	}
	return false
}
