package path

import (
	"net/netip"
	"slices"
	"time"
)

// An Offer is a path that may be chosen.
type Offer struct {
	Addr netip.AddrPort
	Quality
}

// A Choice is that of one among paths. It changes only for what has been clearly better
// for a while: each change costs what was measured before. And it remembers why it has
// left a path: one that is bad under load looks good when it is left.
type Choice struct {
	addr        netip.AddrPort // invalid: none
	betterSince time.Time      // since when something was; zero: nothing is
	left        []departure    // the latest last
}

// A departure from a path.
type departure struct {
	addr  netip.AddrPort
	cost  time.Duration // of the path then, and so until it is tried again
	until time.Time     // when it may be
	times int           // it was left before, not long after it was tried
}

const (
	// Better is what costs less by 15 % and by 5 ms, and then something goes on costing
	// less for 3 s: what is measured of a lossy path wavers.
	betterShare = 0.15
	betterBy    = 5 * time.Millisecond
	betterFor   = 3 * time.Second

	// A path that was left is tried again after this, which doubles each time that it is
	// left within settledAfter.
	firstReturn  = 20 * time.Second
	lastReturn   = 10 * time.Minute
	settledAfter = 5 * time.Minute

	maxDepartures = 8
)

// Choose returns the path to use from now on: what was chosen before, if it is still
// there and nothing is better, else the best. The zero AddrPort means that there is none.
func (c *Choice) Choose(now time.Time, offers []Offer) netip.AddrPort {
	var best, chosen *Offer
	var least, present time.Duration
	for i := range offers {
		o := &offers[i]
		cost := c.cost(now, o)
		if best == nil || cost < least {
			best, least = o, cost
		}
		if o.Addr == c.addr {
			chosen, present = o, o.cost()
		}
	}
	switch {
	case best == nil:
		c.take(netip.AddrPort{})
	case chosen == nil:
		c.take(best.Addr)
	case best == chosen:
		c.betterSince = time.Time{}
	case c.betterSince.IsZero():
		if clearly(least, present) {
			c.betterSince = now
		}
	case now.Sub(c.betterSince) >= betterFor:
		c.depart(now, c.addr, present)
		c.take(best.Addr)
	}
	return c.addr
}

// cost is that of an offer as far as it may be tried.
func (c *Choice) cost(now time.Time, o *Offer) time.Duration {
	cost := o.cost()
	if o.Addr != c.addr && c.remembers(now, o.Addr) {
		cost = max(cost, c.left[c.departure(o.Addr)].cost)
	}
	return cost
}

func (c *Choice) departure(from netip.AddrPort) int {
	return slices.IndexFunc(c.left, func(d departure) bool { return d.addr == from })
}

// remembers reports whether a path was left and is not to be tried yet.
func (c *Choice) remembers(now time.Time, addr netip.AddrPort) bool {
	i := c.departure(addr)
	return i >= 0 && now.Before(c.left[i].until)
}

// Depart says that a path was no good, whatever questions say: others are chosen before
// it for a while, if there are any.
func (c *Choice) Depart(now time.Time, from netip.AddrPort) {
	c.depart(now, from, time.Hour)
	if c.addr == from {
		c.take(netip.AddrPort{})
	}
}

func (c *Choice) depart(now time.Time, from netip.AddrPort, cost time.Duration) {
	d := departure{addr: from, cost: cost}
	if i := c.departure(from); i >= 0 {
		if now.Sub(c.left[i].until) < settledAfter {
			d.times = c.left[i].times + 1
		}
		c.left = slices.Delete(c.left, i, i+1)
	}
	d.until = now.Add(min(firstReturn<<min(d.times, 8), lastReturn))
	if c.left = append(c.left, d); len(c.left) > maxDepartures {
		c.left = slices.Delete(c.left, 0, 1)
	}
}

// Chosen returns what was chosen last, or the zero AddrPort.
func (c *Choice) Chosen() netip.AddrPort { return c.addr }

// Take makes a path the chosen one, because the peer has chosen it.
func (c *Choice) Take(addr netip.AddrPort) { c.take(addr) }

// Forget forgets why paths were left: the network is another one.
func (c *Choice) Forget() { c.left = nil }

func (c *Choice) take(addr netip.AddrPort) {
	c.addr, c.betterSince = addr, time.Time{}
}

func clearly(better, than time.Duration) bool {
	return than-better >= max(betterBy, time.Duration(betterShare*float64(than)))
}
