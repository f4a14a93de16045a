package path

import (
	"net/netip"
	"time"
)

// A Name is what a path is called.
type Name string

// The names of paths.
const (
	Direct    Name = "direct"    // to the peer itself
	UDPRelay  Name = "relay-udp" // through a relay, in datagrams
	Websocket Name = "relay-ws"  // through the signal server
)

// Paths decides about all paths to one peer: the direct one falls on the relay on UDP,
// and that on the websocket.
type Paths struct {
	direct, relay *Machine
	routes        routes
	name          Name
}

// routes is where packets go, and could go.
type routes struct {
	Direct    netip.AddrPort // the peer's own address; invalid: none
	Relay     netip.AddrPort // the relay's; invalid: none
	Websocket bool

	SpareDirect, SpareRelay netip.AddrPort
}

// Seen tells when something last happened on all paths. See [Observation].
type Seen struct {
	Direct, Relay PathSeen
	Websocket     PathSeen
	Genuine       time.Time
}

// PathSeen tells when something last happened on one path. See [Observation].
type PathSeen struct {
	Heard, Answered, Doubted, Sent, OwedAt time.Time

	Owed int
	RTT  time.Duration
}

// A Decision is what to do now.
type Decision struct {
	Direct    netip.AddrPort // where packets go, each of them everywhere
	Relay     netip.AddrPort
	Websocket bool
	Changed   bool // whether that, or what is spare, differs from the decision before

	// Name is that of the path that packets take; if there are several, of the one that
	// was trusted last.
	Name Name

	AskDirect, AskRelay     bool // what the peer is to be asked on
	DoubtDirect, DoubtRelay bool // and told that its packets may not arrive on
	StartAttempt            bool // at a direct path; see [Verdict]
	StartBinding            bool // at the relay
	LeftRelay               bool // it was lost: another one may be better

	// Spare are the paths that were found and put aside.
	SpareDirect, SpareRelay netip.AddrPort
}

// NewPaths returns one that knows of the websocket only.
func NewPaths() *Paths {
	return &Paths{direct: New(), relay: New(), routes: routes{Websocket: true}, name: Websocket}
}

// DirectUp says that ICE proved a path to addr.
func (p *Paths) DirectUp(now time.Time, addr netip.AddrPort, rtt time.Duration) Decision {
	return p.decide(p.direct.Up(now, addr, rtt), p.relay.decided(now, p.relay.route))
}

// DirectDown says that ICE lost the direct path.
func (p *Paths) DirectDown(now time.Time) Decision {
	return p.decide(p.direct.Down(now), p.relay.decided(now, p.relay.route))
}

// DirectUnattended says that ICE has lost a direct path on which the peer answers: of few
// checks all may be lost.
func (p *Paths) DirectUnattended(now time.Time) Decision {
	return p.decide(p.direct.Unattended(now), p.relay.decided(now, p.relay.route))
}

// AttemptEnded says that the attempt that was asked for last is over. If it found a
// path, DirectUp has said so before, and this changes nothing.
func (p *Paths) AttemptEnded(now time.Time) Decision {
	return p.decide(p.direct.AttemptEnded(now), p.relay.decided(now, p.relay.route))
}

// AttemptBegun says that an attempt at a direct path has begun, which the peer may have
// asked for.
func (p *Paths) AttemptBegun(now time.Time) { p.direct.AttemptBegun(now) }

// RelayUp says that the peer has answered through the relay at addr.
func (p *Paths) RelayUp(now time.Time, addr netip.AddrPort, rtt time.Duration) Decision {
	return p.decide(p.direct.decided(now, p.direct.route), p.relay.Up(now, addr, rtt))
}

// RelayDown says that the relay forwards no more.
func (p *Paths) RelayDown(now time.Time) Decision {
	return p.decide(p.direct.decided(now, p.direct.route), p.relay.Down(now))
}

// NetworkChanged says that addresses or routes of this host changed.
func (p *Paths) NetworkChanged(now time.Time) Decision {
	return p.decide(p.direct.NetworkChanged(now), p.relay.NetworkChanged(now))
}

// SetAside says which paths are not wanted, though they work.
func (p *Paths) SetAside(now time.Time, aside Aside) Decision {
	return p.decide(p.direct.SetAside(now, aside.Direct), p.relay.SetAside(now, aside.Relay))
}

// Tick says what was heard and sent until now.
func (p *Paths) Tick(now time.Time, seen Seen) Decision {
	before := p.relay.state
	relay := p.relay.Tick(now, seen.Relay.over(seen.Websocket, seen.Genuine))
	floor := PathSeen{
		Heard: later(seen.Websocket.Heard, seen.Relay.Heard),
		Sent:  later(seen.Websocket.Sent, seen.Relay.Sent),
	}
	direct := p.direct.Tick(now, seen.Direct.over(floor, seen.Genuine))
	d := p.decide(direct, relay)
	d.LeftRelay = before != floored && p.relay.state == floored
	return d
}

func (s PathSeen) over(floor PathSeen, genuine time.Time) Observation {
	return Observation{
		Heard: s.Heard, Answered: s.Answered, Doubted: s.Doubted, Sent: s.Sent, OwedAt: s.OwedAt, Owed: s.Owed, RTT: s.RTT,
		HeardFloor: floor.Heard, SentFloor: floor.Sent, Genuine: genuine,
	}
}

// decide joins what the machines say.
func (p *Paths) decide(direct, relay Verdict) Decision {
	before := p.routes
	p.routes = routes{Direct: direct.Addr, SpareDirect: p.direct.spareAddr(), SpareRelay: p.relay.spareAddr()}
	if direct.Floor {
		p.routes.Relay, p.routes.Websocket = relay.Addr, relay.Floor
	}
	switch {
	case direct.InUse:
		p.name = Direct
	case relay.InUse:
		p.name = UDPRelay
	default:
		p.name = Websocket
	}
	return Decision{
		Direct: p.routes.Direct, Relay: p.routes.Relay, Websocket: p.routes.Websocket,
		Changed: p.routes != before, Name: p.name,
		AskDirect: direct.Ask, AskRelay: relay.Ask && (direct.Floor || p.relay.state != floored), // else nobody needs to know
		DoubtDirect: direct.Doubt, DoubtRelay: relay.Doubt,
		StartAttempt: direct.StartAttempt, StartBinding: relay.StartAttempt,
		SpareDirect: p.routes.SpareDirect, SpareRelay: p.routes.SpareRelay,
	}
}
