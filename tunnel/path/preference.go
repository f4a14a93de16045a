package path

import (
	"net/netip"
	"time"
)

// An Aside says which paths are not wanted though they work, because what is below them is
// clearly better.
type Aside struct{ Direct, Relay bool }

const (
	// A relay must be better than a direct path by this, and the websocket than a relay:
	// somebody else has to carry the packets, and TCP delays them when one is lost.
	relayHandicap     = 200 * time.Millisecond
	websocketHandicap = 2 * relayHandicap
)

// A Preference decides which paths are put aside. It compares each path with what is below
// it; one that has just been found is taken until it has shown what it is.
type Preference struct{ direct, relay overFloor }

// Look takes what is known about the direct path, the relay in use and the websocket. A
// path that is not there has no address, and of one that was not measured nothing is
// expected.
func (p *Preference) Look(now time.Time, direct, relay Offer, websocket Quality) (aside Aside) {
	below := Offer{Quality: websocket, Handicap: websocketHandicap}
	if relay.Addr.IsValid() {
		relay.Handicap = relayHandicap
		aside.Relay = p.relay.worse(now, relay, below)
		if !aside.Relay {
			below = relay
		}
	}
	if direct.Addr.IsValid() {
		aside.Direct = p.direct.worse(now, direct, below)
	}
	return aside
}

// Forget forgets why paths were put aside: the network is another one.
func (p *Preference) Forget() { *p = Preference{} }

// Poor reports whether something below the path may be better.
func (q Quality) Poor() bool { return q.cost() > relayHandicap/2 }

// overFloor is the choice between a path and what is below it, which has no address there.
type overFloor struct {
	choice Choice
	addr   netip.AddrPort // that it was about last
}

func (o *overFloor) worse(now time.Time, path, floor Offer) bool {
	if o.addr != path.Addr {
		o.addr = path.Addr
		if !o.choice.remembers(now, path.Addr) {
			o.choice.Take(path.Addr)
		}
	}
	offers := [2]Offer{path, floor}
	offers[1].Addr = netip.AddrPort{}
	n := 2
	if floor.RTT == 0 {
		n = 1
	}
	return o.choice.Choose(now, offers[:n]) != path.Addr
}
