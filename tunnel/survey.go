package tunnel

import (
	"fmt"
	"net/netip"
	"time"

	"peerway/tunnel/path"
	"peerway/tunnel/pathsock"
)

// A PathInfo is how good one path of a tunnel is, as of the last second in which there
// was a stream, or somebody looked.
type PathInfo struct {
	Path   string         // as in [Info]
	Remote netip.AddrPort // the peer or the relay
	InUse  bool           // packets take it
	RTT    time.Duration  // 0: not known
	Loss   float64        // share of questions that were not answered
	Heard  time.Time      // zero: never
	At     time.Time      // of that second

	// BytesIn and BytesOut are what passes in a second. They are known for the path in
	// use.
	BytesIn, BytesOut float64
}

// A survey measures the paths of a session, and puts aside those that are worse than what
// is below them. It belongs to the climber.
type survey struct {
	direct     path.Quality
	addr       netip.AddrPort // that direct is about
	websocket  path.Quality
	preference path.Preference
	aside      path.Aside
	toldAt     time.Time // of aside
	at         time.Time
	in, out    uint64 // bytes until then
	usedAt     time.Time

	inRate, outRate float64 // bytes per second, in the last one
}

const (
	surveyEvery = time.Second

	// A tunnel is in use until so long after a second in which so many bytes passed: more
	// than it takes to keep it alive. What waits quietly must not cost a mobile line
	// a packet each second.
	usedFor = 10 * time.Second

	// A path that is asked closely, and on which the peer was heard so lately, is not dead. One
	// that is quiet is heard of when QUIC keeps itself alive, be it at the second try.
	heardFor = 3 * time.Second
	quietFor = keepAlive + 2*time.Second

	// The peer is told that often what is put aside: it may not have listened.
	tellEvery = 10 * time.Second

	use = 1000
)

// look measures the paths, chooses among them, and tells of all.
func (c *climber) look(now time.Time, seen pathsock.Stats) {
	v := &c.survey
	if addr := c.directAddr(); v.addr != addr {
		v.addr, v.direct = addr, path.Quality{}
	}
	v.count(now, seen)
	busy := c.busy(now)
	if !busy && !c.s.watched(now) {
		return
	}
	if v.addr.IsValid() {
		c.measure(now, &v.direct, v.addr, false, v.aside.Direct)
	}
	if c.belowMatters() {
		c.measure(now, &v.websocket, netip.AddrPort{}, false, c.lookClosely() || c.relayQuality().Doubtful())
	}
	if busy && c.s.role == dialing {
		c.prefer(now)
	}
	if v.at == now {
		c.tellPaths(seen)
	}
}

// count counts what passes in a second.
func (v *survey) count(now time.Time, seen pathsock.Stats) {
	passed := now.Sub(v.at)
	if passed < surveyEvery {
		return
	}
	in, out := seen.BytesIn-v.in, seen.BytesOut-v.out
	if v.at.IsZero() {
		in, out = 0, 0
	}
	if in+out >= use {
		v.usedAt = now
	}
	v.inRate, v.outRate = float64(in)/passed.Seconds(), float64(out)/passed.Seconds()
	v.at, v.in, v.out = now, seen.BytesIn, seen.BytesOut
}

// measure asks on a path if it is time to, and takes what was answered into account.
func (c *climber) measure(now time.Time, q *path.Quality, to netip.AddrPort, relayed, closely bool) {
	a := c.s.route.Answers(to, relayed)
	q.Answered(a.At, a.RTT, a.Got, a.Lost)
	question := pathsock.Survey
	ask, long := q.Ask(now, closely)
	if long {
		question = pathsock.LongSurvey
	}
	if ask {
		c.s.route.Ask(to, relayed, question)
	}
}

// directAddr returns the direct path, used or put aside.
func (c *climber) directAddr() netip.AddrPort {
	where := c.s.whereNow()
	if where.SpareDirect.IsValid() {
		return where.SpareDirect
	}
	return where.Direct
}

func (c *climber) relayQuality() (q path.Quality) {
	if m := c.relay.inUse; m != nil {
		return m.quality
	}
	return q
}

// belowMatters reports whether it matters how good the paths below the direct one are.
func (c *climber) belowMatters() bool {
	return c.s.whereNow().Name != path.Direct || c.survey.direct.Poor()
}

// lookClosely reports whether the direct path is compared with what is below it.
func (c *climber) lookClosely() bool { return c.survey.aside.Direct || c.survey.direct.Doubtful() }

// heardDirectly reports whether the peer was heard on the direct path within so long, though
// it may be put aside.
func (c *climber) heardDirectly(now time.Time, within time.Duration) bool {
	addr := c.directAddr()
	heard := c.s.route.Answers(addr, false).At
	if c.s.whereNow().Name == path.Direct && c.s.route.Stats().Direct.Heard.After(heard) {
		heard = c.s.route.Stats().Direct.Heard
	}
	return addr.IsValid() && now.Sub(heard) < within
}

// prefer decides which paths are put aside.
func (c *climber) prefer(now time.Time) {
	v := &c.survey
	relay, websocket := c.below(now)
	aside := v.preference.Look(now, path.Offer{Addr: v.addr, Quality: v.direct}, relay, websocket)
	if aside != v.aside || now.Sub(v.toldAt) >= tellEvery {
		c.putAside(now, aside)
	}
}

// meet compares a relay that has just been found with the websocket. That was asked when the
// peer was: if it has not answered it is slower.
func (c *climber) meet(now time.Time) {
	v, answers := &c.survey, c.s.route.Answers(netip.AddrPort{}, false)
	if c.s.role != dialing || now.Sub(answers.At) > freshFor {
		return
	}
	v.websocket.Answered(answers.At, answers.RTT, answers.Got, answers.Lost)
	relay, websocket := c.below(now)
	aside := v.aside
	if aside.Relay = v.preference.Meet(now, relay, websocket); aside != v.aside {
		c.putAside(now, aside)
	}
}

// below returns what is below a direct path, as far as it may be used.
func (c *climber) below(now time.Time) (relay path.Offer, websocket path.Quality) {
	relay, websocket = path.Offer{Quality: c.relayQuality()}, c.survey.websocket
	if m := c.relay.inUse; m != nil && !m.binding.Spent().After(now) {
		relay.Addr = m.addr
	}
	if c.s.spent.Load() != nil {
		websocket = path.Quality{}
	}
	return relay, websocket
}

// putAside puts paths aside, or takes them into use again, and tells the peer.
func (c *climber) putAside(now time.Time, aside path.Aside) {
	c.survey.toldAt = now
	msg := message{Kind: putAside}
	if aside.Direct {
		msg.Aside |= asideDirect
	}
	if aside.Relay {
		msg.Aside |= asideRelay
	}
	c.tell(msg)
	c.setAside(now, aside)
}

// setAside puts paths aside, or takes them into use again.
func (c *climber) setAside(now time.Time, aside path.Aside) {
	v := &c.survey
	if aside == v.aside {
		return
	}
	changed := aside.Direct != v.aside.Direct
	v.aside = aside
	if changed {
		c.s.setReason(v.reason())
	}
	c.apply(c.paths.SetAside(now, aside))
}

// reason says why there is a direct path and it is not used, if that is so.
func (v *survey) reason() string {
	switch {
	case !v.aside.Direct || !v.addr.IsValid():
		return ""
	case !v.direct.Poor():
		return "the direct path works, but the peer has put it aside"
	}
	return fmt.Sprintf("the direct path works, but is put aside: it takes %v and loses %.0f %% of its packets",
		v.direct.RTT.Round(time.Millisecond), 100*v.direct.Loss)
}

// tellPaths publishes what is known of all paths.
func (c *climber) tellPaths(seen pathsock.Stats) {
	var infos []PathInfo
	where := c.s.whereNow()
	add := func(name path.Name, remote netip.AddrPort, inUse bool, q path.Quality, heard time.Time) {
		info := PathInfo{Path: string(name), Remote: remote, InUse: inUse, RTT: q.RTT, Loss: q.Loss, Heard: heard, At: c.survey.at}
		if inUse {
			info.BytesIn, info.BytesOut = c.survey.inRate, c.survey.outRate
		}
		infos = append(infos, info)
	}
	if c.survey.addr.IsValid() {
		add(path.Direct, c.survey.addr, where.Name == path.Direct, c.survey.direct, seen.Direct.Heard)
	}
	for _, m := range c.relay.places {
		if m.up {
			add(path.UDPRelay, m.addr, where.Name == path.UDPRelay && m == c.relay.inUse, m.quality, c.s.route.Through(m.addr).Heard)
		}
	}
	add(path.Websocket, c.s.m.stunServer(), where.Name == path.Websocket, c.survey.websocket, seen.Carrier.Heard)
	c.s.paths.Store(&infos)
}

// busy reports whether there are streams, and they are used.
func (c *climber) busy(now time.Time) bool {
	return c.s.isUp() && c.s.lanes.Live() > 0 && now.Sub(c.survey.usedAt) < usedFor
}
