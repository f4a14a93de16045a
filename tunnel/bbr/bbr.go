package bbr

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Time is a moment, as the time since an origin of the caller's choice. It
// never goes back.
type Time = time.Duration

// Config describes the connection to control.
type Config struct {
	PacketSize int            // of a full packet, bytes; 0: 1200
	RTT        time.Duration  // measured so far; 0: none
	Rand       func() float64 // in [0, 1); nil: math/rand/v2
}

// A Packet is one that was acknowledged or lost.
type Packet struct {
	Number int64
	Size   int64 // bytes, as when it was sent
}

// infinity bounds nothing.
const infinity = math.MaxInt64

// initialPackets is the window at the start (RFC 9002 section 7.2), and
// movedPackets after a change of path in mid-transfer: the application is known
// to use more.
const (
	initialPackets = 10
	movedPackets   = 32
)

// maxPackets bounds the window, whatever is measured: 25 MB fill 1 Gbit/s for
// 200 ms.
const maxPackets = 17500

// A Controller is the congestion controller of one connection on one path.
type Controller struct {
	smss int64 // C.SMSS, bytes
	rand func() float64

	initialWindow int64
	window        int64 // C.cwnd, bytes
	priorWindow   int64 // BBR.prior_cwnd: before ProbeRTT
	inflight      int64 // C.inflight, bytes, as of the last event
	idleRestart   bool  // BBR.idle_restart
	fullWindow    [2]bool
	began         int64 // sampler.delivered at the start or the last Reset

	sampler sampler
	sample  sample // RS, of the event at hand
	pacer   pacer
	rounds  rounds
	noise   noise
	loss    loss

	phase      phase
	drainRound int64 // BBR.drain_start_round
	pipe       pipe
	cycle      cycle

	bw         int64 // BBR.bw, bytes/s
	maxBW      bandwidths
	decline    decline
	minRTT     shortest
	extraAcked aggregation

	bwShort       int64 // BBR.bw_shortterm, bytes/s
	inflightShort int64 // BBR.inflight_shortterm, bytes
	inflightLong  int64 // BBR.inflight_longterm, bytes
}

// New returns a controller at now. Nothing has been sent that it will be told
// the fate of, or it does not mind.
func New(cfg Config, now Time) *Controller {
	c := &Controller{smss: int64(cfg.PacketSize), rand: cfg.Rand}
	if c.smss <= 0 {
		c.smss = 1200
	}
	if c.rand == nil {
		c.rand = rand.Float64
	}
	c.start(now, cfg.RTT, initialPackets)
	return c
}

// Reset forgets the model at now: the packets take another path from here on.
// Those that are on their way say nothing about it.
func (c *Controller) Reset(now Time) {
	c.start(now, 0, movedPackets)
	c.cycle.probeRTTBy = now + movedProbe
}

// start is OnInit (section 5.2.1).
func (c *Controller) start(now Time, rtt time.Duration, packets int64) {
	c.initialWindow = packets * c.smss
	c.window, c.priorWindow = c.initialWindow, 0
	c.idleRestart = false
	c.sampler.restart(now)
	c.began = c.sampler.delivered
	c.rounds = rounds{next: c.sampler.delivered, delivered: c.sampler.delivered, lost: c.sampler.lost}
	c.fullWindow = [2]bool{}
	c.noise = noise{}
	c.loss = loss{end: c.sampler.delivered}
	c.pipe = pipe{}
	c.cycle = cycle{ackPhase: acksInit, perIncrement: infinity}
	c.bw, c.maxBW, c.decline = 0, bandwidths{}, decline{}
	c.minRTT = newShortest(rtt, now)
	c.extraAcked = aggregation{since: now}
	c.inflightLong = infinity
	c.resetShortTerm()
	c.pacer = pacer{smss: c.smss, at: now}
	c.initPacing(rtt)
	c.pacer.credit = float64(c.pacer.quantum)
	c.enterStartup()
}

// Sent tells that a packet has left. inflight counts the bytes in flight with
// it; a packet that is not eliciting an acknowledgement is not among them.
func (c *Controller) Sent(now Time, number, size, inflight int64, eliciting bool) {
	if !eliciting || size <= 0 {
		return
	}
	before := max(inflight-size, 0)
	if c.pacer.idle(now) && before+c.smss <= c.window {
		c.sampler.limit(before) // it could have been sent before: the application had nothing
		c.decline = decline{}
	}
	if before == 0 && c.sampler.appLimited != 0 {
		c.restartFromIdle(now)
	}
	c.pacer.sent(now, size)
	if inflight+c.smss > c.window {
		c.fullWindow[0] = true
	}
	c.sampler.sent(now, number, size, inflight, c.phase.accelerates())
}

// restartFromIdle is HandleRestartFromIdle (section 5.4.1).
func (c *Controller) restartFromIdle(now Time) {
	c.idleRestart = true
	c.extraAcked.since = now
	if c.phase.probesBandwidth() {
		c.setPacing(1)
	} else if c.phase == probeRTT {
		c.checkProbeRTTDone(now)
	}
}

// Event tells what one received acknowledgement, or the loss timer, has settled.
// prior counts the bytes that were in flight before.
func (c *Controller) Event(now Time, prior int64, acked, lost []Packet) {
	c.inflight = prior
	for _, p := range acked {
		c.inflight -= p.Size
	}
	for _, p := range lost {
		c.inflight -= p.Size
	}
	c.inflight = max(c.inflight, 0)

	c.sample = c.sampler.acked(now, acked)
	c.lostPackets(now, lost)
	c.sampler.rate(&c.sample)
	if c.sample.ok {
		if c.minRTT.known() == 0 {
			c.initPacing(c.sample.rtt)
		}
		c.updateModel(now)
	}
	c.updateControl(now)
}

// Marked tells that packets have come back marked with congestion experienced
// (section 3.7): as bad as loss beyond all noise. [Controller.Event] follows.
func (c *Controller) Marked() { c.loss.marked = true }

// updateModel is UpdateModelAndState (section 5.2.3).
func (c *Controller) updateModel(now Time) {
	c.updateLatest()
	c.updateCongestion()
	c.extraAcked.update(now, c.bw, c.sample.acked, c.window, c.rounds.count, c.pipe.reached)
	c.checkFullPipe()
	c.checkStartupDone()
	c.checkDrainDone(now)
	c.updateCycle(now)
	expired := c.minRTT.update(now, c.sample.rtt)
	c.checkProbeRTT(now, expired)
	c.advanceLatest()
	c.boundBandwidth()
}

// boundBandwidth is BoundBWForModel (section 5.5.10.3).
func (c *Controller) boundBandwidth() { c.bw = min(c.maxBW.max(), c.bwShort) }

// MaySend reports whether pacing lets a packet go at now.
func (c *Controller) MaySend(now Time) bool { return c.pacer.may(now) }

// NextSend returns when [Controller.MaySend] will say yes, at most a second after
// the last packet; 0 is now.
func (c *Controller) NextSend() Time { return c.pacer.next() }

// Window returns the congestion window in bytes.
func (c *Controller) Window() int64 { return c.window }

// Bandwidth returns what the model holds the path's rate to be, in bytes per
// second of packets; 0 if it does not know.
func (c *Controller) Bandwidth() int64 { return c.bw }

// MinRTT returns the shortest round trip of late; 0 if there was none.
func (c *Controller) MinRTT() time.Duration { return c.minRTT.known() }

// Noise returns the share of packets that the path loses whatever is sent.
func (c *Controller) Noise() float64 { return c.noise.share() }

// State names the state of the draft's state machine (section 5.1.1).
func (c *Controller) State() string { return c.phase.String() }

// Starting reports whether the controller is still looking for the path's rate.
func (c *Controller) Starting() bool { return c.phase == startup }
