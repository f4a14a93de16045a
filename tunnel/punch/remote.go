package punch

import (
	"maps"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"peerway/signal"
)

// Whoever lives at an address that a peer names gets packets, and has not asked for them. The
// peer may be hostile, so few addresses are taken, and as long as nobody has answered from
// one (RFC 7675 calls that consent) it gets few packets: many at first, when both sides open
// their NATs, and then as many as it takes to find a peer that begins late.
const (
	maxSignalled = maxHosts + maxMapped // what a peer offers
	maxHeard     = 4                    // beside these: a NAT on the way changes addresses
	maxOfHost    = 4                    // of each kind, with one IP address

	eagerChecks = 24 // to an address
	checkEvery  = 200 * time.Millisecond

	// Who was heard from and did not answer for so long has gone. On a path in use, loseAfter is.
	goneAfter = 3 * time.Second

	// Who does not answer is answered, but not for ever as often as it asks.
	eagerAnswers = 24
	answerEvery  = 100 * time.Millisecond
)

// An origin is how an address became known.
type origin uint8

const (
	heard  origin = iota // the peer sends from there
	ofHost               // it has signalled it as its own
	ofNAT                // and as one at which its NAT can be reached
)

// A remote is an address of the peer.
type remote struct {
	rtt     time.Duration // smoothed; 0 until a check was answered
	origin  origin
	heardAt time.Time // last, or when it became known

	checks, answers *rate.Limiter // until a check was answered
}

// consents reports whether the peer was heard to want packets there.
func (r *remote) consents() bool { return r.rtt != 0 }

// isGone reports whether the peer seems not to send from there any more.
func (r *remote) isGone(now time.Time) bool {
	after := goneAfter
	if r.consents() {
		after = loseAfter
	}
	return r.origin == heard && now.Sub(r.heardAt) > after
}

// measure adds one round trip time, as RFC 6298 section 2 does.
func (r *remote) measure(rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	if r.rtt == 0 {
		r.rtt = rtt
		return
	}
	r.rtt += (rtt - r.rtt) / 8
}

// admit returns the entry of an address that the peer has signalled, or was heard from: that
// one takes the place of those that are gone. It returns nil if there are too many.
func (p *port) admit(addr netip.AddrPort, from origin, now time.Time) *remote {
	r := p.remotes[addr]
	if r != nil && (r.origin != heard || from == heard) {
		return r
	}
	most := maxSignalled
	if from == heard {
		most = maxHeard
		maps.DeleteFunc(p.remotes, func(_ netip.AddrPort, r *remote) bool { return r.isGone(now) })
	}
	all, ofAddr := 0, 0
	for other, known := range p.remotes {
		if (known.origin == heard) == (from == heard) {
			all++
			if other.Addr() == addr.Addr() {
				ofAddr++
			}
		}
	}
	if all >= most || ofAddr >= maxOfHost {
		return nil
	}
	if r == nil {
		r = &remote{
			heardAt: now,
			checks:  rate.NewLimiter(rate.Every(checkEvery), eagerChecks),
			answers: rate.NewLimiter(rate.Every(answerEvery), eagerAnswers),
		}
		p.remotes[addr] = r
	}
	r.origin = from
	return r
}

// hears reports whether to look at what an address asks.
func (p *port) hears(from netip.AddrPort, now time.Time) bool {
	r := p.admit(from, heard, now)
	if r == nil {
		return false
	}
	r.heardAt = now
	return r.consents() || r.answers.AllowN(now, 1)
}

// asks reports whether to send a check to an address.
func (p *port) asks(to netip.AddrPort, now time.Time) bool {
	r := p.remotes[to]
	return r != nil && (r.consents() || r.checks.TokensAt(now) >= 1 && // spent only if the peer's is
		p.puncher.checks.allow(p.peer, r.origin, now) && r.checks.AllowN(now, 1))
}

// checkers is what peers may have checked, in all their attempts. Those that have not used any
// of it lately are not in it.
type checkers map[signal.PeerID]checker

// A checker is what one peer may have checked: of its hosts, and beyond its NATs. These matter
// most, and are the last in the list of the ICE library, so they have a share of their own.
type checker struct{ hosts, beyond *rate.Limiter }

func newChecker() checker {
	share := func(addresses int) *rate.Limiter {
		return rate.NewLimiter(rate.Every(checkEvery/time.Duration(addresses)), addresses*eagerChecks)
	}
	return checker{hosts: share(maxHosts), beyond: share(maxMapped)}
}

func (c checker) isNew(now time.Time) bool {
	return c.hosts.TokensAt(now) >= maxHosts*eagerChecks && c.beyond.TokensAt(now) >= maxMapped*eagerChecks
}

func (c checkers) allow(peer signal.PeerID, to origin, now time.Time) bool {
	own, ok := c[peer]
	if !ok {
		maps.DeleteFunc(c, func(_ signal.PeerID, old checker) bool { return old.isNew(now) })
		own = newChecker()
		c[peer] = own
	}
	if to == ofHost {
		return own.hosts.AllowN(now, 1)
	}
	return own.beyond.AllowN(now, 1)
}
