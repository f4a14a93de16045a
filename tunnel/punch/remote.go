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

	// What one peer has checked, in all its attempts.
	peerChecks     = maxSignalled * eagerChecks
	peerCheckEvery = checkEvery / maxSignalled

	// Who does not answer is answered, but not for ever as often as it asks.
	eagerAnswers = 24
	answerEvery  = 100 * time.Millisecond
)

// A remote is an address of the peer.
type remote struct {
	rtt       time.Duration // smoothed; 0 until a check was answered
	signalled bool          // by the peer, not only heard from

	checks, answers *rate.Limiter // until then
}

// consents reports whether the peer was heard to want packets there.
func (r *remote) consents() bool { return r.rtt != 0 }

// measure adds one round trip time, as RFC 6298 section 2 does.
func (r *remote) measure(rtt time.Duration) {
	rtt = max(rtt, time.Microsecond)
	if r.rtt == 0 {
		r.rtt = rtt
		return
	}
	r.rtt += (rtt - r.rtt) / 8
}

// admit returns the entry of an address that the peer has signalled, or was heard from. It
// returns nil if there are too many.
func (p *port) admit(addr netip.AddrPort, signalled bool) *remote {
	r := p.remotes[addr]
	if r != nil && (r.signalled || !signalled) {
		return r
	}
	all, ofHost := 0, 0
	for other, known := range p.remotes {
		if known.signalled == signalled {
			all++
			if other.Addr() == addr.Addr() {
				ofHost++
			}
		}
	}
	most := maxHeard
	if signalled {
		most = maxSignalled
	}
	if all >= most || ofHost >= maxOfHost {
		return nil
	}
	if r == nil {
		r = &remote{
			checks:  rate.NewLimiter(rate.Every(checkEvery), eagerChecks),
			answers: rate.NewLimiter(rate.Every(answerEvery), eagerAnswers),
		}
		p.remotes[addr] = r
	}
	r.signalled = signalled
	return r
}

// hears reports whether to look at what an address asks.
func (p *port) hears(from netip.AddrPort, now time.Time) bool {
	r := p.admit(from, false)
	return r != nil && (r.consents() || r.answers.AllowN(now, 1))
}

// asks reports whether to send a check to an address.
func (p *port) asks(to netip.AddrPort, now time.Time) bool {
	r := p.remotes[to]
	return r != nil && (r.consents() || r.checks.AllowN(now, 1) && p.puncher.checks.allow(p.peer, now))
}

// checkers is what peers may have checked. Those that have not used any of it lately are
// not in it.
type checkers map[signal.PeerID]*rate.Limiter

func (c checkers) allow(peer signal.PeerID, now time.Time) bool {
	l := c[peer]
	if l == nil {
		maps.DeleteFunc(c, func(_ signal.PeerID, l *rate.Limiter) bool { return l.TokensAt(now) >= peerChecks })
		l = rate.NewLimiter(rate.Every(peerCheckEvery), peerChecks)
		c[peer] = l
	}
	return l.AllowN(now, 1)
}
