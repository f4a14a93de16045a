package bbr

import (
	"math"
	"time"
)

// noise is what a path loses whatever is sent: radio, not a queue. The draft has
// no such thing; see the package comment.
//
// A queue that is shallow, or a policer, loses packets without ever delaying
// them: several flows that took that for noise would drive each other up. So
// noise is learned only on paths whose queue has shown that it can hold much: there,
// what is lost while it is short was not lost in it.
type noise struct {
	quiet, all losses
	deep       bool // the queue has shown that it holds much
	deepAt     Time // when it did last
}

// losses counts packets, of which the older ones count less.
type losses struct{ lost, packets float64 }

func (l *losses) add(lost, delivered, smss int64) {
	l.lost += float64(lost) / float64(smss)
	l.packets += float64(lost+delivered) / float64(smss)
	for l.packets > 2*noiseMemory {
		l.lost /= 2
		l.packets /= 2
	}
}

func (l *losses) share() float64 { return l.lost / max(l.packets, 1) }

const (
	// lossThreshold is the share of lost data that is too much when it comes on
	// top of the noise (LossThresh).
	lossThreshold = 0.02

	noiseAtLeast = 50   // packets, before anything is said
	noiseMemory  = 1000 // packets, after which the past counts half
	maxNoise     = 0.2  // beyond that, nobody would call it usable
	maxProbeLoss = 0.25 // while the noise is not known

	deepFor       = 30 * time.Second // is remembered of a queue that was long
	severePackets = 30               // that a share of the loss can be told from
	minPrompts    = 3                // acknowledgements of more than one packet, in a round that shows it
)

// learn takes in a round of mean round trip rtt that has ended at now.
func (c *Controller) learn(now Time, rtt time.Duration, lost, delivered int64) {
	n := &c.noise
	n.all.add(lost, delivered, c.smss)
	if n.deep && c.calm() && c.shortQueue(rtt) {
		n.quiet.add(lost, delivered, c.smss)
	}
}

// seeQueue looks whether the queue was long in the round that has ended at now.
// Single packets do not tell: the other end may keep their acknowledgement back
// for 25 ms.
func (c *Controller) seeQueue(now Time) {
	n, r, empty := &c.noise, &c.rounds, c.typicalRTT()
	if r.prompts >= minPrompts && r.prompt/time.Duration(r.prompts) > empty+empty*2/5+2*time.Millisecond+c.slow(2) {
		n.deep, n.deepAt = true, now
	} else if now > n.deepAt+deepFor {
		n.deep = false
	}
}

// calm reports whether nothing is being probed.
func (c *Controller) calm() bool {
	return (c.cycle.ackPhase == acksInit && c.phase != up || c.phase == probeRTT && c.cycle.probeRTTDone != 0) &&
		(c.pipe.reached || c.sample.appLimited)
}

// shortQueue reports whether a round trip of rtt has met hardly any queue.
func (c *Controller) shortQueue(rtt time.Duration) bool {
	empty := c.typicalRTT()
	return rtt <= empty+empty/4+time.Millisecond+c.slow(2)
}

// slow returns how long the path takes for so many packets, if the smallest window
// is more than it holds: then some always wait, and that is no queue. Else a flow
// does not know it: others may share the path.
func (c *Controller) slow(packets int64) time.Duration {
	if c.bw == 0 || c.bdp(1) >= c.minWindow() {
		return 0
	}
	return seconds(float64(packets*c.smss) / float64(c.bw))
}

// standingQueue reports whether no packet of the last round has met a short one.
func (c *Controller) standingQueue() bool {
	empty := c.minRTT.known()
	return c.rounds.least > empty+empty/4+time.Millisecond
}

// share returns the share of packets that the path loses, 0 to maxNoise: not
// more than is lost in all.
func (n *noise) share() float64 {
	if n.quiet.packets < noiseAtLeast {
		return 0
	}
	return min(n.quiet.share(), n.all.share(), maxNoise)
}

// tolerated returns the share of volume bytes that may be lost before it is
// too much: noise, as much as chance makes of it, and the threshold.
func (n *noise) tolerated(volume, smss int64) float64 {
	return byChance(n.share(), volume, smss) + lossThreshold
}

// byChance returns what share of volume bytes a path may lose that loses share p
// of many.
func byChance(p float64, volume, smss int64) float64 {
	packets := max(float64(volume)/float64(smss), 1)
	return p + 2*math.Sqrt(p*(1-p)/packets)
}

// excessive reports whether lost of volume bytes are too much.
func (n *noise) excessive(lost, volume, smss int64) bool {
	return float64(lost) > n.tolerated(volume, smss)*float64(volume)
}

// tooMuch is excessive for packets sent while probing. As long as the queue has
// not shown itself, a probe goes on until it does, the rate grows no more, or the
// loss is more than any noise: else noise that is not known yet would end each
// probe, and never become known.
func (n *noise) tooMuch(lost, volume, smss int64) bool {
	return float64(lost) > n.limit(volume, smss)*float64(volume)
}

// limit returns the share of volume bytes that a probe may lose.
func (n *noise) limit(volume, smss int64) float64 {
	if !n.deep {
		return maxProbeLoss
	}
	return min(n.tolerated(volume, smss), 0.5)
}

// severe reports whether no noise loses so much of volume bytes, nor chance.
func (n *noise) severe(lost, volume, smss int64) bool {
	return volume >= severePackets*smss && 3*lost > volume
}

// compensated returns how much has to be sent so that bytes arrive.
func (n *noise) compensated(bytes float64) float64 { return bytes / (1 - n.share()) }

// raised is compensated for a probe, which finds nothing if what it adds is lost:
// as long as the noise is not known, all loss counts.
func (n *noise) raised(bytes float64) float64 {
	if n.deep {
		return n.compensated(bytes)
	}
	return bytes / (1 - min(n.all.share(), maxNoise))
}
