package tunnel

import (
	"net/netip"
	"time"

	"peerway/tunnel/path"
	"peerway/tunnel/pathsock"
)

// A PathInfo is how good one path of a tunnel is, as of the last second in which there
// was a stream.
type PathInfo struct {
	Path   string         // as in [Info]
	Remote netip.AddrPort // the peer or the relay
	InUse  bool           // packets take it
	RTT    time.Duration  // 0: not known
	Loss   float64        // share of questions that were not answered
	Heard  time.Time      // zero: never

	// BytesIn and BytesOut are what passes in a second. They are known for the path in
	// use.
	BytesIn, BytesOut float64
}

// A survey measures the paths of a session. It belongs to the climber.
type survey struct {
	direct  path.Quality
	addr    netip.AddrPort // that direct is about
	at      time.Time
	in, out uint64 // bytes until then
}

const surveyEvery = time.Second

// look measures the direct path, and tells of all.
func (c *climber) look(now time.Time, seen pathsock.Stats) {
	v, where := &c.survey, c.s.whereNow()
	if v.addr != where.Direct {
		v.addr, v.direct = where.Direct, path.Quality{}
	}
	busy := c.busy()
	if v.addr.IsValid() {
		v.direct.Answered(c.s.route.Pinged(v.addr, false))
		if busy && v.direct.Ask(now) {
			c.s.route.Ping(v.addr, false, false)
		}
	}
	if passed := now.Sub(v.at); busy && passed >= surveyEvery {
		in, out := seen.BytesIn-v.in, seen.BytesOut-v.out
		if v.at.IsZero() {
			in, out = 0, 0
		}
		v.at, v.in, v.out = now, seen.BytesIn, seen.BytesOut
		c.tellPaths(where, seen, float64(in)/passed.Seconds(), float64(out)/passed.Seconds())
	}
}

// tellPaths publishes what is known of all paths.
func (c *climber) tellPaths(where path.Decision, seen pathsock.Stats, in, out float64) {
	var infos []PathInfo
	add := func(name path.Name, remote netip.AddrPort, inUse bool, q path.Quality, heard time.Time) {
		info := PathInfo{Path: string(name), Remote: remote, InUse: inUse, RTT: q.RTT, Loss: q.Loss, Heard: heard}
		if inUse {
			info.BytesIn, info.BytesOut = in, out
		}
		infos = append(infos, info)
	}
	if where.Direct.IsValid() {
		add(path.Direct, where.Direct, where.Name == path.Direct, c.survey.direct, seen.Direct.Heard)
	}
	for _, m := range c.relay.places {
		if m.up {
			add(path.UDPRelay, m.addr, where.Name == path.UDPRelay && m == c.relay.inUse, m.quality, c.s.route.Through(m.addr).Heard)
		}
	}
	add(path.Websocket, c.s.m.stunServer(), where.Name == path.Websocket, path.Quality{}, seen.Carrier.Heard)
	c.s.paths.Store(&infos)
}

// busy reports whether there is a stream.
func (c *climber) busy() bool {
	select {
	case <-c.s.ready:
		return c.s.lanes.Live() > 0
	default:
		return false
	}
}
