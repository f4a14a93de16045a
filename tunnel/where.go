package tunnel

import (
	"net/netip"
	"time"

	"peerway/tunnel/path"
	"peerway/tunnel/pathsock"
)

// observe returns what the paths have carried so far.
func (c *climber) observe(now time.Time, stats pathsock.Stats) path.Seen {
	seen := path.Seen{
		Direct:    seenOn(stats.Direct),
		Websocket: seenOn(stats.Carrier),
		Genuine:   now, // of the handshake, nothing is known to be
	}
	select {
	case <-c.s.ready:
		if n := c.s.conn.ConnectionStats().PacketsReceived; n != c.genuine {
			c.genuine, c.genuineAt = n, now
			c.heard(now)
		}
		seen.Genuine = c.genuineAt
	default:
	}
	if d := c.s.whereNow(); d.Direct.IsValid() {
		a := c.s.route.Answers(d.Direct, false)
		answered(&seen.Direct, a, c.survey.direct)
		c.heard(a.At)
	}
	if addr := c.relayAddr(c.s.whereNow()); addr.IsValid() {
		seen.Relay = seenOn(c.s.route.Through(addr))
		a := c.s.route.Answers(addr, true)
		answered(&seen.Relay, a, c.relayQuality())
		c.heard(a.At)
	}
	c.heard(c.s.route.Answers(netip.AddrPort{}, false).At)
	return seen
}

// heard records that the peer was heard at a time; zero is never.
func (c *climber) heard(at time.Time) {
	if !at.IsZero() {
		c.s.heardAt.Store(max(c.s.heardAt.Load(), at.UnixNano()))
	}
}

// relayAddr returns the relay that is used, or would be if nothing better were there; or the
// one that was lost and is looked back at.
func (c *climber) relayAddr(d path.Decision) netip.AddrPort {
	if m := c.relay.inUse; m != nil {
		return m.addr
	}
	return d.Relay
}

func seenOn(s pathsock.PathStats) path.PathSeen {
	return path.PathSeen{Heard: s.Heard, Doubted: s.Doubted, Sent: s.Sent}
}

func answered(s *path.PathSeen, a pathsock.Answers, lately path.Quality) {
	s.Answered, s.OwedAt, s.Owed, s.RTT = a.Proven, a.OwedAt, a.Owed, max(a.RTT, lately.RTT)
}

// setWhere records how the peer is reached now and returns how it was before.
func (s *session) setWhere(d path.Decision) (before path.Decision) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.where = s.where, d
	return before
}

// whereNow returns how the peer is reached now.
func (s *session) whereNow() path.Decision {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.where
}

// reached says by which path the peer is reached, as far as that is true, and where that
// leads: without a signal server, what Paths takes for the floor carries nothing.
func (s *session) reached(d path.Decision) (name path.Name, remote netip.AddrPort) {
	if d.Name == path.Websocket && !s.m.isConnected() {
		if !d.Direct.IsValid() {
			return "", netip.AddrPort{}
		}
		d.Name = path.Direct // it is not trusted yet, but all there is
	}
	return d.Name, s.remote(d)
}

// watchFor is how long paths are measured for who has looked at the tunnel.
const watchFor = 3 * time.Second

// watched reports whether somebody has looked at the tunnel of late.
func (s *session) watched(now time.Time) bool {
	return s.isUp() && now.Sub(time.Unix(0, s.lookedAt.Load())) < watchFor
}

// freshFor is how long what was measured on a path says how it is.
const freshFor = 5 * time.Second

// pathsAt returns what is known of the paths that there are, and the round trip time of
// the one in use; 0 if that is not known now. The caller holds no lock.
func (s *session) pathsAt(now time.Time) (paths []PathInfo, rtt time.Duration) {
	if all := s.paths.Load(); all != nil {
		paths = *all
	}
	if last := len(paths) - 1; last >= 0 && paths[last].Path == string(path.Websocket) && !s.m.isConnected() {
		paths = paths[:last:last]
	}
	for _, p := range paths {
		if p.InUse && now.Sub(p.At) < freshFor {
			rtt = p.RTT
		}
	}
	return paths, rtt
}

// limits returns those of both ends. Where there is a direct path, though it may be put
// aside, nothing stands in its way.
func (s *session) limits(d path.Decision) (here, there Limits) {
	if d.SpareDirect.IsValid() {
		return 0, 0
	}
	return s.m.limits(), Limits(s.peerLimits.Load())
}

// remote returns the other end of the path that packets take.
func (s *session) remote(d path.Decision) netip.AddrPort {
	switch d.Name {
	case path.Direct:
		return d.Direct
	case path.UDPRelay:
		return d.Relay
	}
	return s.m.stunServer()
}
