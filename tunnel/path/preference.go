package path

import (
	"net/netip"
	"time"
)

// An Aside says which paths are not wanted though they work, because what is below them is
// clearly better.
type Aside struct{ Direct, Relay bool }

const (
	// A relay must be better than a direct path by this, and the websocket by that: somebody
	// else has to carry the packets; and TCP hides what it loses until it is used.
	relayHandicap     = 300 * time.Millisecond
	websocketHandicap = 800 * time.Millisecond

	// Where loss is the reason, what is below must lose no more than this part of it: most
	// often packets are lost on the one line that all paths share.
	lossShare = 0.5

	// What is found of few questions may be chance: a loss counts that is so many standard
	// deviations less than what was found, or more below.
	deviations = 1.5

	// A path is taken back when it is at most so much worse than what is below it, a part of
	// the handicap: what is measured wavers.
	returnShare = 0.3

	// A path that was put aside is tried again after asideAtLeast, which doubles each time
	// that it is put aside within settledAfter.
	asideAtLeast = firstReturn
	asideAtMost  = 5 * time.Minute
)

// A Preference decides which paths are put aside. It compares each path with what is below
// it; one that has just been found is taken until it has shown what it is, but for a relay
// whose first round trips say enough.
type Preference struct{ direct, relay overFloor }

// Look takes what is known about the direct path, the relay in use and the websocket. A
// path that is not there has no address, and of one that was not measured nothing is
// expected.
func (p *Preference) Look(now time.Time, direct, relay Offer, websocket Quality) (aside Aside) {
	below, handicap := websocket, websocketHandicap
	if relay.Addr.IsValid() {
		aside.Relay = p.relay.look(now, relay, below, handicap-relayHandicap)
		if !aside.Relay {
			below, handicap = relay.Quality, relayHandicap
		}
	}
	if direct.Addr.IsValid() {
		aside.Direct = p.direct.look(now, direct, below, handicap)
	}
	return aside
}

// Meet takes a relay that has just been found, and reports whether it is put aside at once:
// its round trip is clearly longer than the websocket's. It is taken back without delay as
// soon as that turns out not to be so.
func (p *Preference) Meet(now time.Time, relay Offer, websocket Quality) bool {
	o := &p.relay
	if o.addr != relay.Addr {
		*o = overFloor{addr: relay.Addr}
	}
	if !o.aside && websocket.RTT > 0 && clearly(websocket.base()+websocketHandicap-relayHandicap, relay.base()) {
		o.aside, o.betterAt = true, time.Time{}
	}
	return o.aside
}

// Forget forgets why paths were put aside: the network is another one.
func (p *Preference) Forget() { *p = Preference{} }

// overFloor compares a path with what is below it.
type overFloor struct {
	addr     netip.AddrPort // of the path
	aside    bool
	betterAt time.Time // since when the other one is better; zero: it is not
	until    time.Time // when the path may be tried again
	times    int       // that it was put aside, soon after it was taken back
}

// look reports whether the path is put aside.
func (o *overFloor) look(now time.Time, path Offer, floor Quality, handicap time.Duration) bool {
	if o.addr != path.Addr {
		*o = overFloor{addr: path.Addr}
	}
	switch {
	case o.aside && floor.RTT == 0:
		o.aside, o.betterAt = false, time.Time{}
	case o.aside && !o.returns(now, path.Quality, floor, handicap), !o.aside && !leaves(path.Quality, floor, handicap):
		o.betterAt = time.Time{}
	case o.betterAt.IsZero():
		o.betterAt = now
	case now.Sub(o.betterAt) >= betterFor:
		o.turn(now)
	}
	return o.aside
}

func (o *overFloor) turn(now time.Time) {
	o.aside, o.betterAt = !o.aside, time.Time{}
	if !o.aside {
		return
	}
	if o.until.IsZero() || now.Sub(o.until) > settledAfter {
		o.times = 0
	} else {
		o.times++
	}
	o.until = now.Add(min(asideAtLeast<<min(o.times, 8), asideAtMost))
}

// leaves reports whether a path is clearly worse than what is below it.
func leaves(path, floor Quality, handicap time.Duration) bool {
	if !path.isSure() || !floor.isSure() {
		return false
	}
	lost, below := path.lossWithin(-deviations), floor.lossWithin(deviations)
	shared := lost >= lossy && below > lossShare*lost
	return !shared && clearly(cost(floor.base(), below)+handicap, cost(path.base(), lost))
}

// returns reports whether a path that was put aside may be used again.
func (o *overFloor) returns(now time.Time, path, floor Quality, handicap time.Duration) bool {
	handicap = time.Duration(returnShare * float64(handicap))
	return !now.Before(o.until) && path.isSure() &&
		cost(path.base(), path.lossClosely()) <= cost(floor.base(), floor.lossClosely())+handicap
}
