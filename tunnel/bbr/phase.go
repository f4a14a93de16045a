package bbr

import "time"

// A phase is a state of the state machine (section 5.1.1).
type phase uint8

const (
	startup phase = iota
	drain
	down
	cruise
	refill
	up
	probeRTT
)

func (p phase) String() string {
	return [...]string{"startup", "drain", "down", "cruise", "refill", "up", "probe-rtt"}[p]
}

// probesBandwidth is IsInAProbeBWState.
func (p phase) probesBandwidth() bool { return p >= down && p <= up }

// accelerates is IsProbingBW.
func (p phase) accelerates() bool { return p == startup || p == refill || p == up }

// gains returns pacing_gain and cwnd_gain (section 5.6.1).
func (p phase) gains() (pacing, window float64) {
	switch p {
	case startup:
		return 2.77, 2
	case drain:
		return 0.5, 2
	case down:
		return 0.9, 1.5
	case cruise:
		return 1, 1.5
	case up:
		return 1.25, 2.25
	case probeRTT:
		return 1, 0.5
	}
	return 1, 2
}

// A pipe is the look-out for a delivery rate that grows no more (section
// 5.3.1.2).
type pipe struct {
	reached bool  // BBR.full_bw_reached: ever
	now     bool  // BBR.full_bw_now
	bw      int64 // BBR.full_bw
	count   int   // BBR.full_bw_count, rounds without growth
}

// look is ResetFullBW: look out again, from a rate of bw.
func (p *pipe) look(bw int64) { p.now, p.bw, p.count = false, bw, 0 }

// checkFullPipe is CheckFullBWReached.
func (c *Controller) checkFullPipe() {
	if c.pipe.now || !c.rounds.started || c.sample.appLimited {
		return
	}
	growth := 1.25
	if c.phase == up && !c.noise.deep {
		growth = 1.1 // as much arrives of a probe that loses as much as it may
	}
	if float64(c.sample.rate) >= float64(c.pipe.bw)*growth {
		c.pipe.look(c.sample.rate)
		return
	}
	c.pipe.count++
	c.pipe.now = c.pipe.count >= 3
	c.pipe.reached = c.pipe.reached || c.pipe.now
}

func (c *Controller) enterStartup() { c.phase = startup }

// checkStartupDone is CheckStartupDone, with CheckStartupHighLoss (section
// 5.3.1.3). Loss that noise could explain ends the search only when the queue has
// shown itself: the search is what teaches the controller that there is one.
func (c *Controller) checkStartupDone() {
	if c.phase != startup {
		return
	}
	if c.loss.excess && c.loss.manyRanges && (c.noise.deep || c.loss.severe) {
		c.pipe.reached, c.pipe.now = true, true
		c.inflightLong = max(c.bdp(1), c.loss.inflightLatest)
	}
	if c.pipe.reached {
		c.enterDrain()
	}
}

func (c *Controller) enterDrain() {
	c.phase = drain
	c.drainRound = c.rounds.count
}

// checkDrainDone is CheckDrainDone (section 5.3.2).
func (c *Controller) checkDrainDone(now Time) {
	if c.phase == drain && (c.inflight <= c.inflightFor(1) || c.rounds.count > c.drainRound+3) {
		c.startDown(now) // EnterProbeBW
	}
}

// checkProbeRTT is CheckProbeRTT (section 5.3.4.3).
func (c *Controller) checkProbeRTT(now Time, expired bool) {
	if by := c.cycle.probeRTTBy; by != 0 && now > by && c.pipe.reached {
		expired = true
	}
	if c.phase != probeRTT && expired && !c.idleRestart {
		c.cycle.probeRTTBy = 0
		c.priorWindow = c.window // SaveCwnd
		if c.cycle.ackPhase == acksStopping && !c.sample.appLimited {
			c.maxBW.advance() // the round that would do it is cut short
		}
		c.phase = probeRTT
		c.cycle.probeRTTDone = 0
		c.cycle.ackPhase = acksStopping
		c.startRound()
	}
	if c.phase == probeRTT {
		c.handleProbeRTT(now)
	}
	if c.sample.delivered > 0 {
		c.idleRestart = false
	}
}

// handleProbeRTT is HandleProbeRTT.
func (c *Controller) handleProbeRTT(now Time) {
	c.sampler.limit(c.inflight) // slow on purpose: not what the path can do
	y := &c.cycle
	switch {
	case y.probeRTTDone == 0 && c.inflight <= c.probeRTTWindow():
		y.probeRTTDone = now + probeRTTDuration
		y.probeRTTRound = false
		c.startRound()
	case y.probeRTTDone != 0:
		y.probeRTTRound = y.probeRTTRound || c.rounds.started
		if y.probeRTTRound {
			c.checkProbeRTTDone(now)
		}
	}
}

// checkProbeRTTDone is CheckProbeRTTDone and ExitProbeRTT (section 5.3.4.4).
func (c *Controller) checkProbeRTTDone(now Time) {
	if c.cycle.probeRTTDone == 0 || now <= c.cycle.probeRTTDone {
		return
	}
	c.minRTT.probedAt = now                 // the next one is due from here
	c.window = max(c.window, c.priorWindow) // RestoreCwnd
	c.resetShortTerm()
	if !c.pipe.reached {
		c.enterStartup()
		return
	}
	c.startDown(now)
	c.phase = cruise // the queue is empty already
}

// seconds returns s as a duration.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
