package bbr

import "time"

const (
	pacingMargin   = 0.01 // PacingMarginPercent
	minPipePackets = 4    // MinPipeCwnd

	// ackBatch is for how long the other end may keep acknowledgements back while
	// it handles what has come in at once (section 5.5.8).
	ackBatch = time.Millisecond
)

// updateControl is UpdateControlParameters (section 5.2.3).
func (c *Controller) updateControl(now Time) {
	c.pacer.refill(now) // at the old rate
	gain, _ := c.phase.gains()
	c.setPacing(gain)
	c.setWindow()
}

// initPacing is InitPacingRate (section 5.6.2). It is done again when the round
// trip is known: in Startup the rate only rises.
func (c *Controller) initPacing(rtt time.Duration) {
	if rtt <= 0 {
		rtt = time.Millisecond
	}
	gain, _ := startup.gains()
	c.pacer.set(int64(gain * float64(perSecond(c.initialWindow, rtt))))
}

// setPacing is SetPacingRateWithGain.
func (c *Controller) setPacing(gain float64) {
	if c.bw == 0 {
		return
	}
	arriving := gain * float64(c.bw) * (1 - pacingMargin)
	rate := int64(c.noise.compensated(arriving))
	if c.phase == up {
		rate = int64(c.noise.raised(arriving))
	}
	if c.pipe.reached || rate > c.pacer.rate {
		c.pacer.set(rate)
	}
}

// bdp is BDPMultiple (section 5.6.4.2).
func (c *Controller) bdp(gain float64) int64 { return c.bdpOf(c.bw, gain) }

func (c *Controller) bdpOf(bw int64, gain float64) int64 {
	rtt := c.typicalRTT()
	if rtt == 0 || bw == 0 {
		return c.initialWindow
	}
	return int64(c.noise.compensated(gain * float64(during(bw, rtt))))
}

// quantized is QuantizationBudget.
func (c *Controller) quantized(inflight int64) int64 {
	inflight = max(inflight, c.pacer.quantum, during(c.bw, ackBatch), c.minWindow())
	if c.phase == up {
		inflight += 2 * c.smss
	}
	return inflight
}

// inflightFor is Inflight.
func (c *Controller) inflightFor(gain float64) int64 { return c.quantized(c.bdp(gain)) }

func (c *Controller) minWindow() int64 { return minPipePackets * c.smss }

// probeRTTWindow is ProbeRTTCwnd (section 5.6.4.5).
func (c *Controller) probeRTTWindow() int64 {
	_, gain := probeRTT.gains()
	return max(c.bdp(gain), c.minWindow())
}

// setWindow is SetCwnd (section 5.6.4.6).
func (c *Controller) setWindow() {
	_, gain := c.phase.gains()
	limit := c.quantized(c.bdp(gain) + c.extraAcked.bytes()) // UpdateMaxInflight
	switch {
	case c.pipe.reached:
		c.window = min(c.window+c.sample.acked, limit)
	case c.window < limit || c.sampler.delivered-c.began < c.initialWindow:
		c.window += c.sample.acked
	}
	c.window = max(c.window, c.minWindow())
	if c.phase == probeRTT {
		c.window = min(c.window, c.probeRTTWindow())
	}
	c.window = min(c.window, c.volumeCap(), maxPackets*c.smss)
}

// volumeCap is BoundCwndForModel (section 5.6.4.7).
func (c *Controller) volumeCap() int64 {
	limit := int64(infinity)
	switch {
	case c.phase == cruise, c.phase == probeRTT:
		limit = c.withHeadroom()
		if c.phase == cruise {
			limit = max(limit, c.inflightFor(1)) // room for others is not made by leaving the path idle
		}
	case c.phase.probesBandwidth():
		limit = c.inflightLong
	}
	return max(min(limit, c.inflightShort), c.minWindow())
}
