package tunnel

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"peerway/tunnel/path"
	"peerway/tunnel/pathsock"
	"peerway/tunnel/punch"
)

// A climber introduces the two peers and looks for a direct path, for as long as
// the session lives. All of it belongs to the goroutine of climb, but for send.
type climber struct {
	s      *session
	paths  *path.Paths
	relay  relaying
	survey survey
	ration ration
	ctx    context.Context // of this one climb
	out    chan message    // to be sealed and sent through the signal server

	attempts attempts
	sources  []netip.AddrPort // that count as the peer's, the newest last
	vigil    vigil
	remind   reminder

	again <-chan time.Time // to fly; nil: not
	pause time.Duration    // before that

	genuine   uint64    // packets of QUIC that were, as of the last tick
	genuineAt time.Time // when that changed
}

// climb runs until ctx is done. introduced receives at most one error: why the
// peer could not be told.
func (s *session) climb(ctx context.Context, introduced chan<- error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &climber{
		s:     s,
		paths: path.NewPaths(),
		ctx:   ctx,
		out:   make(chan message, 8),
		vigil: newVigil(s.m.cfg.silent, time.Now(), s.m.cfg.wall()),
	}
	c.attempts = newAttempts(ctx, s, c.tell)
	defer c.attempts.close()
	var sending sync.WaitGroup
	defer sending.Wait()
	defer cancel()
	sending.Go(func() { c.send(introduced) })

	c.paths.Tick(time.Now(), path.Seen{}) // asks for the attempt that comes with the introduction
	if s.role == dialing {
		c.begin(offer)
	}
	tick := time.NewTicker(path.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			stats := s.route.Stats()
			c.apply(c.paths.Tick(now, c.observe(now, stats)))
			c.keepRelays(now)
			c.look(now, stats)
			c.hinder(now, stats)
			c.ration.look(c, now)
			c.listen(now, stats)
			c.gather()
		case event, ok := <-events(c.attempts.trying):
			c.tried(event, ok)
		case event, ok := <-events(c.attempts.chosen):
			c.kept(event, ok)
		case <-c.again:
			c.fly()
		case mapped := <-c.attempts.mapped:
			c.attempts.learned(mapped)
		case addr := <-s.opened:
			c.attempts.opened(addr)
		case places := <-s.places:
			c.moor(places)
		case a := <-s.answers:
			c.answered(a)
		case <-s.moved:
			c.networkChanged()
		case nat := <-s.nat:
			c.attempts.learnedNAT(nat)
		case msg := <-s.inbox:
			c.hear(msg)
		}
	}
}

// begin begins an attempt and tells the peer of it with a message of kind k.
func (c *climber) begin(k kind) {
	now := time.Now()
	c.paths.AttemptBegun(now)
	if !c.attempts.begin(now, message{Kind: k, Instance: c.s.m.cfg.Instance}) {
		c.apply(c.paths.AttemptEnded(now)) // which plans the next one for later
	}
}

// beginNext begins the next attempt of the end that dialed.
func (c *climber) beginNext() {
	c.attempts.advance()
	c.begin(punchOffer)
}

// hear acts on a message of the peer.
func (c *climber) hear(msg message) {
	switch msg.Kind {
	case offer, punchOffer:
		if c.s.role != answering || msg.Punch == nil || !c.attempts.asked.allow(time.Now()) {
			return
		}
		c.attempts.number = msg.Attempt
		reply := answer
		if msg.Kind == punchOffer {
			reply = punchReply
		}
		c.begin(reply)
		c.attempts.connect(*msg.Punch)
	case answer, punchReply:
		if c.s.role == dialing && msg.Attempt == c.attempts.number && msg.Punch != nil {
			c.s.instance.CompareAndSwap(0, msg.Instance)
			c.attempts.connect(*msg.Punch)
		}
	case candidates:
		c.attempts.hearMore(msg)
	case putAside:
		if c.s.role == answering {
			c.setAside(time.Now(), path.Aside{Direct: msg.Aside&asideDirect != 0, Relay: msg.Aside&asideRelay != 0})
		}
	case punchWish:
		if c.s.role == dialing && c.attempts.wanted(time.Now()) {
			c.beginNext()
		}
	}
}

// tried acts on an event of the attempt that is under way.
func (c *climber) tried(event punch.Event, ok bool) {
	switch e := event.(type) {
	case punch.Selected:
		c.attempts.choose()
		c.up(e)
	case punch.Gathered:
		c.attempts.tellMore(e.Candidates)
	default:
		if f, isFailed := event.(punch.Failed); isFailed {
			c.s.log.Debug("no direct path", "err", f.Reason)
			c.s.setReason(cmp.Or(c.survey.reason(), f.Reason))
		} else if ok {
			return
		}
		c.attempts.failed()
		c.apply(c.paths.AttemptEnded(time.Now()))
	}
}

// kept acts on an event of the attempt whose path is in use.
func (c *climber) kept(event punch.Event, _ bool) {
	if e, ok := event.(punch.Selected); ok {
		c.up(e)
		return
	}
	c.attempts.abandon()
	c.lost(time.Now())
}

// lost acts on what ICE says of the path in use: of few checks all may be lost.
func (c *climber) lost(now time.Time) {
	if c.heardDirectly(now, quietFor) {
		c.apply(c.paths.DirectUnattended(now))
		return
	}
	c.s.setReason("")
	c.apply(c.paths.DirectDown(now))
}

func (c *climber) up(e punch.Selected) {
	c.s.setReason(c.survey.reason())
	c.attempts.failures = 0
	c.authenticate(e.Remote)
	c.apply(c.paths.DirectUp(time.Now(), e.Remote, e.RTT))
	c.fly()
	select { // the machine trusts the path when a packet of QUIC has come over it
	case <-c.s.ready:
		c.ask()
	default:
	}
}

// maxSources bounds the addresses that count as the peer's at once. Those that
// it has left stay a while for what is still on its way from there.
const maxSources = 8

// authenticate makes source the peer's and forgets the one left longest ago.
func (c *climber) authenticate(source netip.AddrPort) {
	c.s.route.Authenticate(source)
	c.sources = slices.DeleteFunc(c.sources, func(known netip.AddrPort) bool { return known == source })
	c.sources = append(c.sources, source)
	if len(c.sources) > maxSources {
		c.s.route.Forget(c.sources[0])
		c.sources = slices.Delete(c.sources, 0, 1)
	}
}

// networkChanged doubts everything and looks for new paths.
func (c *climber) networkChanged() {
	now := time.Now()
	c.attempts.failures = 0
	c.survey.preference.Forget()
	c.relay.choice.Forget()
	c.lookAround(now)
	c.apply(c.paths.NetworkChanged(now))
}

// apply makes what was decided about the paths true.
func (c *climber) apply(d path.Decision) {
	if d.Changed {
		if d.Websocket {
			c.s.m.cfg.Signal.Bind(c.s.id, c.s.peer) // the relay forgets what is not used
		}
		c.s.route.SetRoute(pathsock.Route{Direct: d.Direct, Relay: d.Relay, Carrier: d.Websocket})
		c.tellMoved(d)
	}
	if d.AskDirect {
		c.s.route.Ask(d.Direct, false, question(d.DoubtDirect))
	}
	if addr := c.relayAddr(d); d.AskRelay && addr.IsValid() {
		c.s.route.Ask(addr, true, question(d.DoubtRelay))
	}
	if d.LeftRelay {
		c.castOff(time.Now())
	}
	if d.StartBinding {
		c.lookAround(time.Now())
	}
	if !d.StartAttempt {
		return
	}
	if c.s.role == answering {
		c.tell(message{Kind: punchWish})
		return
	}
	c.beginNext()
}

func question(doubt bool) pathsock.Question {
	if doubt {
		return pathsock.Doubt
	}
	return pathsock.Proof
}

// tellMoved tells of a route that has changed.
func (c *climber) tellMoved(d path.Decision) {
	before := c.s.setWhere(d)
	if before.Name != d.Name {
		c.s.log.Info("path has changed", "path", d.Name, "remote", c.s.remote(d))
	}
	if before.Name != d.Name || d.Name == path.Direct && before.Direct != d.Direct || d.Name == path.UDPRelay && before.Relay != d.Relay {
		c.s.hints.left.Store(true) // what was measured counts no more
	}
	select {
	case <-c.s.ready: // there is something to hear on the new route at once
		c.s.hints.ask.Store(true)
		c.ask()
	default:
	}
}

// tell sends msg on the control stream, or through the signal server while
// there is none.
func (c *climber) tell(msg message) {
	msg.Session = c.s.id
	select {
	case <-c.s.ready:
		c.s.control.send(msg)
		return
	default:
	}
	select {
	case c.out <- msg:
	default:
	}
}

// send seals and sends what tell has queued, in order.
func (c *climber) send(introduced chan<- error) {
	for {
		select {
		case <-c.ctx.Done():
			return
		case msg := <-c.out:
			err := c.post(msg)
			if err == nil || c.ctx.Err() != nil {
				continue
			}
			if msg.Kind == offer || msg.Kind == answer {
				introduce(introduced, err)
			}
		}
	}
}

func introduce(introduced chan<- error, err error) {
	select {
	case introduced <- err:
	default: // one is enough
	}
}

// ask makes a peer that is there be heard.
func (c *climber) ask() { c.s.control.send(message{Kind: hello, Instance: c.s.m.cfg.Instance}) }

// listen asks a peer that is silent and should not be, or gives it up.
func (c *climber) listen(now time.Time, seen pathsock.Stats) {
	if !c.s.isUp() {
		return
	}
	heard := seen.Direct.Heard
	for _, other := range []time.Time{seen.Relay.Heard, seen.Carrier.Heard} {
		if other.After(heard) {
			heard = other
		}
	}
	ask, lost := c.vigil.tick(now, c.s.m.cfg.wall(), heard, c.s.offline.Load(), c.s.doubted.Load())
	rtt := c.s.conn.ConnectionStats().SmoothedRTT
	if c.remind.tick(now, heard, seen.BytesOut, rtt) || ask {
		c.s.hints.ask.Store(true)
		c.ask()
	}
	if lost != nil {
		c.s.cancel(lost)
	}
}

// gather lets packets of the peer gather before they are read, for no longer than
// the path's round trip hides.
func (c *climber) gather() {
	if !c.s.isUp() {
		return
	}
	patience := min(c.s.conn.ConnectionStats().SmoothedRTT/8, time.Millisecond)
	if patience < time.Millisecond/2 {
		patience = 0
	}
	c.s.route.SetPatience(patience)
}
