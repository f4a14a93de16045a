package tunnel

import (
	"time"

	"peerway/tunnel/path"
	"peerway/tunnel/pathsock"
)

// A Hitch is what keeps a tunnel on the websocket, which a relay on UDP would be better than;
// as one end sees it.
type Hitch string

// Hitches, from the one that the least goes well with.
const (
	NoRelay       Hitch = "no-relay"       // the signal server has named none
	RelaysSilent  Hitch = "relays-silent"  // none that it has named answers
	RelaysFull    Hitch = "relays-full"    // those that answer have no place for the tunnel
	RelaysBlocked Hitch = "relays-blocked" // this end has a place, and does not hear the peer there
	RelaysWorse   Hitch = "relays-worse"   // the peer is heard, and the websocket is better
)

const (
	// hitchFor is how long a hitch lasts before it is told of: to find a relay takes some
	// round trips.
	hitchFor = 3 * time.Second

	// A relay is silent after so many requests without an answer.
	silentAfter = 3
)

// hinder looks for a hitch, and records one that lasts. As UDP may have ceased to pass, that
// is found out anew once the signal server is known to be there.
func (c *climber) hinder(now time.Time, seen pathsock.Stats) {
	r := &c.relay
	switch h := c.hitch(now); {
	case h == "":
		r.hitch, r.asked = h, false
		c.s.setHitch(h)
	case h != r.hitch:
		r.hitch, r.hitchAt, r.asked = h, now, false
	case now.Sub(r.hitchAt) >= hitchFor:
		c.s.setHitch(h)
		if !r.asked && now.Sub(seen.Carrier.Heard) < heardFor {
			r.asked = true
			c.s.m.askNAT()
		}
	}
}

// hitch returns the one that there is now, or "".
func (c *climber) hitch(now time.Time) Hitch {
	if c.s.whereNow().Name != path.Websocket {
		return ""
	}
	worst := NoRelay
	for _, m := range c.relay.places {
		switch {
		case m.up && c.survey.aside.Relay:
			return RelaysWorse
		case m.up, m.binding.Spent().After(now): // it is about to be used; or says itself why it is not
			return ""
		case m.binding.Unanswered() >= silentAfter:
			if worst == NoRelay {
				worst = RelaysSilent
			}
		case m.binding.Bound():
			worst = RelaysBlocked
		case worst != RelaysBlocked:
			worst = RelaysFull
		}
	}
	return worst
}

func (s *session) setHitch(h Hitch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hitch = h
}

// hitched returns the hitch of a tunnel that goes by a path.
func (s *session) hitched(name path.Name) Hitch {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != path.Websocket {
		return ""
	}
	return s.hitch
}
