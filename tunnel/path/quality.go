package path

import (
	"net/netip"
	"time"
)

// A Quality is how good a path has been lately, as far as questions on it tell.
type Quality struct {
	RTT  time.Duration // smoothed; 0: not known
	Loss float64       // of questions and answers together, smoothed

	askedAt    time.Time // the last question
	answeredAt time.Time // the last answer
}

const (
	// qualityEvery is how often a path wants to be asked while packets flow.
	qualityEvery = time.Second

	rttWeight  = 4 // a new round trip time counts one part in so many
	lossWeight = 8

	// A loss counts like this much more round trip time: a hundredth of it for one
	// packet in a hundred, which costs a stream more than 10 ms.
	lossCost = time.Second
)

// Ask reports whether the path is to be asked now, which is then done.
func (q *Quality) Ask(now time.Time) bool {
	if now.Sub(q.askedAt) < qualityEvery {
		return false
	}
	if !q.askedAt.IsZero() {
		lost := 0.0
		if q.answeredAt.Before(q.askedAt) {
			lost = 1
		}
		q.Loss += (lost - q.Loss) / lossWeight
	}
	q.askedAt = now
	return true
}

// Answered says when a question was answered last, and how fast.
func (q *Quality) Answered(at time.Time, rtt time.Duration) {
	if !at.After(q.answeredAt) {
		return
	}
	q.answeredAt = at
	if rtt = max(rtt, time.Microsecond); q.RTT == 0 {
		q.RTT = rtt
	}
	q.RTT += (rtt - q.RTT) / rttWeight
}

// cost is what paths are compared by: the less the better.
func (q Quality) cost() time.Duration {
	return q.RTT + time.Duration(q.Loss*float64(lossCost))
}

// An Offer is a path that may be chosen.
type Offer struct {
	Addr netip.AddrPort
	Quality
}

// A Choice is that of one among paths of the same kind. It changes only for what has
// been clearly better for a while: each change costs what was measured before.
type Choice struct {
	addr        netip.AddrPort // invalid: none
	better      netip.AddrPort // than addr
	betterSince time.Time
}

// Better is what costs less by 15 % and by 5 ms, and stays so for 3 s.
const (
	betterShare = 0.15
	betterBy    = 5 * time.Millisecond
	betterFor   = 3 * time.Second
)

// Choose returns the path to use from now on: what was chosen before, if it is still
// there and nothing is better, else the best. The zero AddrPort means that there is none.
func (c *Choice) Choose(now time.Time, offers []Offer) netip.AddrPort {
	var best, chosen *Offer
	for i := range offers {
		o := &offers[i]
		if best == nil || o.cost() < best.cost() {
			best = o
		}
		if o.Addr == c.addr {
			chosen = o
		}
	}
	switch {
	case best == nil:
		*c = Choice{}
	case chosen == nil:
		*c = Choice{addr: best.Addr}
	case best == chosen || !clearly(best.cost(), chosen.cost()):
		c.better = netip.AddrPort{}
	case c.better != best.Addr:
		c.better, c.betterSince = best.Addr, now
	case now.Sub(c.betterSince) >= betterFor:
		*c = Choice{addr: best.Addr}
	}
	return c.addr
}

// Chosen returns what was chosen last, or the zero AddrPort.
func (c *Choice) Chosen() netip.AddrPort { return c.addr }

// Take makes a path the chosen one, because the peer has chosen it.
func (c *Choice) Take(addr netip.AddrPort) { *c = Choice{addr: addr} }

func clearly(better, than time.Duration) bool {
	return than-better >= max(betterBy, time.Duration(betterShare*float64(than)))
}
