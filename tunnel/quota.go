package tunnel

import (
	"strings"
	"time"

	"peerway/tunnel/path"
)

// A QuotaError ends a tunnel that has no path but relays whose operators let the two peers
// relay no more.
type QuotaError struct {
	Until time.Time // when there is a new quota
}

// Error implements error.
func (e *QuotaError) Error() string {
	return "the relay's quota for this pair is used up until " + clock(e.Until)
}

// clock writes a time of this day or the next.
func clock(t time.Time) string { return t.UTC().Round(time.Minute).Format("15:04 UTC") }

// spentFor is how long a tunnel lasts that only the websocket could carry, which does not:
// another path may be found meanwhile, soughtFor where that takes long. The
// server repeats itself within spentRepeated.
const (
	spentFor      = 4 * time.Second
	soughtFor     = 6 * time.Second
	spentRepeated = 2 * time.Second
)

// Spent tells the Manager that the websocket carries no packets of a session, and how long
// not.
func (m *Manager) Spent(id uint64, left time.Duration) {
	if s, ok := m.routes.Load(id); ok {
		now := time.Now()
		s.(*session).spent.Store(&spent{at: now, until: now.Add(left)})
	}
}

// A spent is when the server last said until when it carries no packets.
type spent struct{ at, until time.Time }

// A ration is what the climber knows of quotas that are used up.
type ration struct {
	since time.Time // that nothing has carried the tunnel; zero: something does
}

// look ends a tunnel that no path carries because of quotas, and records what they say.
func (r *ration) look(c *climber, now time.Time) {
	told := c.s.spent.Load()
	if told != nil && c.s.route.Stats().Carrier.Heard.Sub(told.at) > spentRepeated {
		c.s.spent.CompareAndSwap(told, nil) // it was restarted, and begins anew
		told = nil
	}
	c.s.setSpent(c.spentRelays(now))
	if told == nil || now.Sub(told.at) > spentRepeated || c.s.whereNow().Name != path.Websocket || c.heardDirectly(now, heardFor) {
		r.since = time.Time{}
		return
	}
	if r.since.IsZero() {
		r.since = now
	}
	last := spentFor
	here, there := c.s.limits(c.s.whereNow())
	if c.attempts.trying != nil && c.s.isUp() && (here^there)&HardNAT != 0 {
		last = soughtFor // for a direct path, with many packets
	}
	if now.Sub(r.since) >= last {
		c.s.cancel(&QuotaError{told.until})
	}
}

// spentRelays says which relays have used up their quota, in words for people, or nothing.
func (c *climber) spentRelays(now time.Time) string {
	var where []string
	add := func(place string, until time.Time) {
		if until.After(now) {
			where = append(where, place+" until "+clock(until))
		}
	}
	for _, m := range c.relay.places {
		add("the relay "+m.addr.String(), m.binding.Spent())
	}
	if told := c.s.spent.Load(); told != nil { // its address is that of a relay too, and may not be known
		add("the signal server's websocket", told.until)
	}
	if len(where) == 0 {
		return ""
	}
	return "the quota for this pair is used up at " + strings.Join(where, ", ")
}

// setSpent records which relays carry nothing any more.
func (s *session) setSpent(why string) {
	s.mu.Lock()
	before := s.exhausted
	s.exhausted = why
	s.mu.Unlock()
	if why != "" && why != before {
		s.log.Info("a relay carries no more", "err", why)
	}
}
