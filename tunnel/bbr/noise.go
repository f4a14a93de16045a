package bbr

import (
	"math"
	"time"
)

// noise is what a path loses whatever is sent: radio, not a queue. The draft has
// no such thing; see the package comment.
type noise struct{ lost, packets float64 }

const (
	// lossThreshold is the share of lost data that is too much when it comes on
	// top of the noise (LossThresh).
	lossThreshold = 0.02

	noiseAtLeast = 50   // packets, before anything is said
	noiseMemory  = 1000 // packets, after which the past counts half
	maxNoise     = 0.2  // beyond that, nobody would call it usable
)

// quiet reports whether what is lost in a round, whose mean round trip was rtt,
// is noise: nothing was probing, and there was no queue to overflow.
func (c *Controller) quiet(rtt time.Duration) bool {
	if c.cycle.ackPhase != acksInit || c.phase == up || c.phase == probeRTT {
		return false
	}
	if !c.pipe.reached && !c.sample.appLimited {
		return false
	}
	return c.shortQueue(rtt)
}

// shortQueue reports whether a round trip of rtt has met hardly any queue.
func (c *Controller) shortQueue(rtt time.Duration) bool {
	empty := c.typicalRTT()
	return rtt <= empty+empty/4+time.Millisecond
}

// learn takes in the bytes of a quiet round.
func (n *noise) learn(lost, delivered, smss int64) {
	n.lost += float64(lost) / float64(smss)
	n.packets += float64(lost+delivered) / float64(smss)
	for n.packets > 2*noiseMemory {
		n.lost /= 2
		n.packets /= 2
	}
}

// share returns the share of packets that the path loses, 0 to maxNoise.
func (n *noise) share() float64 {
	if n.packets < noiseAtLeast {
		return 0
	}
	return min(n.lost/n.packets, maxNoise)
}

// tolerated returns the share of volume bytes that may be lost before it is
// too much: noise, the threshold, and what chance adds among few packets.
func (n *noise) tolerated(volume, smss int64) float64 {
	p := n.share()
	packets := max(float64(volume)/float64(smss), 1)
	return p + lossThreshold + 2*math.Sqrt(p*(1-p)/packets)
}

// excessive reports whether lost of volume bytes are too much.
func (n *noise) excessive(lost, volume, smss int64) bool {
	return float64(lost) > n.tolerated(volume, smss)*float64(volume)
}

// compensated returns how much has to be sent so that bytes arrive.
func (n *noise) compensated(bytes float64) float64 { return bytes / (1 - n.share()) }
