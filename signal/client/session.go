package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
	"peerway/signal/relay"
)

const (
	// pongWithin bounds the server's answer to a ping.
	pongWithin = 10 * time.Second
	// rebindEvery keeps relay sessions from expiring on the server.
	rebindEvery = relay.IdleAfter / 2
	// hurriedPong takes its place after the network has changed.
	hurriedPong = 3 * time.Second
	// lastWords bounds what is still written when Run ends.
	lastWords = 250 * time.Millisecond
)

// session is one connection, from dialing to its end. It reports whether the
// login succeeded.
func (c *Client) session(ctx context.Context) (welcomed bool, err error) {
	url := c.cfg.URL
	d := dialer{cfg: c.cfg, addr: url.Addr, public: url.Public,
		match: func(pin signal.Pin) bool { return pin == url.Pin }}
	conn, err := c.dial(ctx, d)
	if err != nil {
		return false, err
	}

	var beats sync.WaitGroup
	defer beats.Wait()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer conn.link.Close()
	defer wire.OnDone(ctx, func() { conn.link.Finish(nil, 1000, "", lastWords) })()

	s := session{Client: c, connection: conn, beats: &beats, cancel: cancel}
	defer c.disconnected()
	if err := c.login(conn); err != nil {
		return false, err
	}
	err = s.read(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause // why the connection was ended here
	}
	if s.welcomed {
		c.cfg.Handler.Disconnected(err)
	}
	return s.welcomed, err
}

// login sends the proof and, without waiting for the answer, all that the server
// must know of this peer.
func (c *Client) login(conn *connection) error {
	hello := wire.Hello{Peer: c.cfg.Identity.PeerID(), Name: c.cfg.Name, Instance: c.cfg.Instance}
	hello.Prove(conn.challenge, conn.binding, c.cfg.Identity, c.cfg.URL.Secret)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.post(conn.link, wire.TypeHello, 0, hello); err != nil {
		return err
	}
	c.key = conn.challenge.Server
	c.announce(conn.link)
	c.reopen(conn.link)
	c.rebind(conn.link)
	c.link.Store(conn.link)
	return nil
}

// disconnected fails all requests that wait for an answer.
func (c *Client) disconnected() {
	c.link.Store(nil)
	c.mu.Lock()
	c.online = false
	pending := c.pending
	c.pending = make(map[uint64]func(wire.Frame, error))
	c.mu.Unlock()
	for _, done := range pending {
		done(wire.Frame{}, signal.ErrDisconnected)
	}
}

// A session is a connection that has sent its login.
type session struct {
	*Client
	*connection
	beats    *sync.WaitGroup
	cancel   context.CancelCauseFunc
	welcomed bool
	unheard  atomic.Bool // the server had no time for something that is not answered
}

// read handles what comes until the connection ends, and returns why it did.
func (s *session) read(ctx context.Context) error {
	for {
		msg, err := s.connection.link.Read()
		if err != nil {
			return err
		}
		if relay.IsFrame(msg) {
			if id, packet, ok := relay.ParseFrame(msg); ok && s.welcomed {
				s.cfg.Handler.Relayed(id, packet)
			}
			continue
		}
		f, err := s.codec.Frame(msg)
		if err != nil {
			return err
		}
		if err := s.handle(ctx, f); err != nil {
			return err
		}
	}
}

// handle returns an error if the connection is at its end.
func (s *session) handle(ctx context.Context, f wire.Frame) error {
	if f.Type == wire.TypeError && f.ID == 0 {
		return s.failed(decodeError(s.codec, f))
	}
	if !s.welcomed {
		if f.Type != wire.TypeWelcome {
			return fmt.Errorf("log in: message %d instead of a welcome", f.Type)
		}
		return s.welcome(ctx, f)
	}
	switch f.Type {
	case wire.TypeResult, wire.TypeError, wire.TypeMailboxReady:
		s.answer(f)
	case wire.TypeGoingAway:
		var away wire.GoingAway
		if err := s.codec.Body(f, &away); err != nil {
			return err
		}
		return &goingAwayError{retry: min(time.Duration(away.RetryAfter)*time.Millisecond, backoffMax)}
	case wire.TypePresence:
		var p signal.Presence
		if err := s.codec.Body(f, &p); err != nil {
			return err
		}
		s.cfg.Handler.Presence(p)
	case wire.TypeDeliver:
		var sealed wire.Sealed
		if err := s.codec.Body(f, &sealed); err != nil {
			return err
		}
		s.cfg.Handler.Deliver(sealed.Peer, sealed.Box)
	case wire.TypeGrants:
		var g wire.Grants
		if err := s.codec.Body(f, &g); err != nil {
			return err
		}
		s.granted(g)
		s.cfg.Handler.Granted(g.Session, s.places(g))
	case wire.TypeSpent:
		var spent wire.Spent
		if err := s.codec.Body(f, &spent); err != nil {
			return err
		}
		s.cfg.Handler.Spent(spent.Session, min(time.Duration(spent.Left)*time.Second, 24*time.Hour))
	case wire.TypeMailboxTaken:
		return s.mailboxTaken(f)
	}
	return nil // also for types of a later version
}

// places returns the relays of g, as far as they can be used.
func (s *session) places(g wire.Grants) []relay.Place {
	var places []relay.Place
	for _, grant := range g.Grants[:min(len(g.Grants), wire.MaxRelays)] {
		p := relay.Place{Addr: s.server, Other: s.other, Grant: relay.Grant{
			Session: g.Session, End: grant.End, Pair: grant.Pair, Until: grant.Until,
			Limits: relay.Limits{Rate: grant.Rate, Quota: grant.Quota},
		}}
		if grant.Addr != "" || grant.Addr6 != "" {
			p.Addr, p.Other = s.nearer(grant.Addr, grant.Addr6)
		}
		if !usableRelay(p.Other) {
			p.Other = netip.AddrPort{}
		}
		if usableRelay(p.Addr) && len(grant.Secret) == len(p.Secret) {
			copy(p.Secret[:], grant.Secret)
			places = append(places, p)
		}
	}
	return places
}

// nearer returns that of two addresses first that is of the same family as the signal
// server's, to which there is a way, or that there is at all.
func (s *session) nearer(ip4, ip6 string) (first, second netip.AddrPort) {
	first, _ = netip.ParseAddrPort(ip4) // what cannot be read is not there
	second, _ = netip.ParseAddrPort(ip6)
	if s.server.Addr().Unmap().Is6() || !usableRelay(first) {
		first, second = second, first
	}
	if !usableRelay(first) {
		first, second = second, first
	}
	return first, second
}

// usableRelay reports whether a relay can be at an address.
func usableRelay(addr netip.AddrPort) bool {
	ip := addr.Addr().Unmap()
	return addr.IsValid() && addr.Port() != 0 && ip.Zone() == "" && (ip.IsGlobalUnicast() || ip.IsLoopback())
}

// failed handles an error that answers no request. Before the login is accepted
// it refuses it.
func (s *session) failed(err *serverError) error {
	switch {
	case !s.welcomed || err.Code.Fatal() || err.Code == wire.CodeDisplaced:
		return err.refusal()
	case err.Code == wire.CodeRateLimited:
		s.unheard.Store(true) // beat says it again
	}
	s.log.Warn("signal server complains", "err", err)
	return nil
}

// answer tells the one who asked.
func (s *session) answer(f wire.Frame) {
	s.mu.Lock()
	done := s.pending[f.ID]
	delete(s.pending, f.ID)
	s.mu.Unlock()
	switch {
	case done == nil: // it stopped waiting
	case f.Type == wire.TypeError:
		done(f, decodeError(s.codec, f))
	default:
		done(f, nil)
	}
}

func (s *session) welcome(ctx context.Context, f wire.Frame) error {
	var w wire.Welcome
	if err := s.codec.Body(f, &w); err != nil {
		return err
	}
	if w.Heartbeat == 0 || w.Heartbeat > 3600 {
		return fmt.Errorf("log in: %w: a heartbeat of %d s", wire.ErrMalformed, w.Heartbeat)
	}
	if err := signal.ValidName(w.Name); err != nil {
		return fmt.Errorf("log in: %w: %w", wire.ErrMalformed, err)
	}
	s.connection.link.KeepReading(time.Time{})
	s.welcomed = true
	s.mu.Lock()
	s.name = w.Name
	s.trouble = Trouble{}
	s.tell(true)
	s.mu.Unlock()
	heartbeat := time.Duration(w.Heartbeat) * time.Second
	s.beats.Go(func() { s.beat(ctx, heartbeat) })
	if !s.other.IsValid() {
		s.other = s.otherOf(w)
	}
	observed, _ := netip.ParseAddrPort(w.Observed)
	if lasted := s.outage.over(time.Now()); lasted > 0 {
		s.log.Info("logged in to the signal server again", "remote", s.cfg.URL.Addr, "local", w.Name, "dur", lasted.Round(time.Millisecond))
	} else {
		s.log.Info("logged in to the signal server", "remote", s.cfg.URL.Addr, "local", w.Name)
	}
	s.cfg.Handler.Connected(Info{Name: w.Name, Server: s.server, Other: s.other, Observed: observed})
	return nil
}

// otherOf returns where the server says that it is with the other version of IP than that
// by which it is known, which may be by an address and not by name.
func (s *session) otherOf(w wire.Welcome) netip.AddrPort {
	text := w.Addr6
	if s.server.Addr().Is6() {
		text = w.Addr
	}
	if addr, err := netip.ParseAddrPort(text); err == nil && s.server.IsValid() && usableRelay(addr) && addr.Addr().Is4() != s.server.Addr().Is4() {
		return addr
	}
	return netip.AddrPort{}
}

// beat sends heartbeats, keeps relay sessions alive, repeats what was not heard,
// and ends a connection on which nothing comes any more, until ctx is done.
func (s *session) beat(ctx context.Context, every time.Duration) {
	link := s.connection.link
	tick := time.NewTicker(max(every/4, 250*time.Millisecond))
	defer tick.Stop()
	pinged, bound := time.Now(), time.Now()
	var hurriedAt time.Time // zero: what was asked then was answered
	for {
		var now time.Time
		select {
		case <-ctx.Done():
			return
		case now = <-tick.C:
		case <-s.hurry:
			if s.homeless() {
				s.cancel(errNetworkChanged)
				return
			}
			now = time.Now()
			pinged, hurriedAt = now, now
			s.post(link, wire.TypePing, 0, nil)
			tick.Reset(hurriedPong / 4)
		}
		heard := link.Heard()
		if !hurriedAt.IsZero() && !heard.Before(hurriedAt) {
			hurriedAt = time.Time{}
			tick.Reset(max(every/4, 250*time.Millisecond))
		}
		patience := every + pongWithin
		if !hurriedAt.IsZero() {
			heard, patience = hurriedAt, hurriedPong
		}
		if now.Sub(heard) > patience {
			s.cancel(fmt.Errorf("%w: nothing for %v", errSilent, patience))
			return
		}
		if now.Sub(pinged) >= every {
			pinged = now
			s.post(link, wire.TypePing, 0, nil)
		}
		unheard := s.unheard.Swap(false)
		s.mu.Lock()
		if unheard {
			s.announce(link)
		}
		if unheard || now.Sub(bound) >= rebindEvery {
			bound = now
			s.rebind(link)
		}
		s.mu.Unlock()
	}
}

// isDisconnect reports whether err only says that the connection was lost.
func isDisconnect(err error) bool { return errors.Is(err, signal.ErrDisconnected) }
