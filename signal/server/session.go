package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"peerway/signal"
	"peerway/signal/hostport"
	"peerway/signal/internal/wire"
	"peerway/signal/relay"
)

// Limits of one connection.
const (
	loginTimeout = 10 * time.Second // TLS, websocket and hello together
	writeTimeout = 15 * time.Second // of 16 KiB
	lastWords    = 500 * time.Millisecond
	pairTimeout  = 30 * time.Second // life of a connection that may only pair
)

// A session is a connection that has logged in.
type session struct {
	server   *Server
	link     *wire.Link
	id       signal.PeerID
	name     string
	instance uint64
	remote   netip.AddrPort
	mailbox  []byte // not nil: it may only claim this mailbox
	log      *slog.Logger

	// Used by the reading goroutine only.
	requests bucket
	binds    bucket
	relayed  bucket
	parts    wire.Announce // of an announcement that is not complete

	// Guarded by the hub.
	services []signal.Service
	allow    map[signal.PeerID]struct{}
	dirty    map[signal.PeerID]struct{} // peers to tell about
}

// serve owns a connection from its TCP handshake to its end. release is called
// when the login is over.
func (s *Server) serve(ctx context.Context, tcp net.Conn, release func()) {
	defer tcp.Close()
	tcp.SetDeadline(time.Now().Add(loginTimeout))
	session, err := s.login(ctx, tcp)
	release()
	if err != nil {
		s.log.Debug("connection ended before its login", "remote", tcp.RemoteAddr(), "err", err)
		return
	}
	defer session.link.Close()
	defer s.hub.leave(session)
	defer wire.OnDone(ctx, func() { session.finish(wire.TypeGoingAway, wire.GoingAway{RetryAfter: 2000}, 4000) })()
	err = session.read()
	session.log.Debug("peer is gone", "err", err)
}

// login returns a session whose welcome is queued. It has closed everything but
// tcp if it fails.
func (s *Server) login(ctx context.Context, tcp net.Conn) (_ *session, err error) {
	defer wire.OnDone(ctx, func() { tcp.SetDeadline(time.Unix(1, 0)) })()
	link, conn, err := s.handshake(ctx, tcp)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			link.Close()
		}
	}()
	conn.SetReadDeadline(time.Now().Add(loginTimeout)) // lifted after the login
	if ctx.Err() != nil {                              // the websocket has lifted the deadline set above
		return nil, context.Cause(ctx)
	}
	p := &session{server: s, link: link, remote: remoteAddr(tcp), dirty: make(map[signal.PeerID]struct{})}
	link.SetMore(p.nextPresence)
	hello, genuine, joins, err := p.challenge(conn)
	if err != nil {
		p.reject(&wire.Error{Code: wire.CodeMalformed, Text: err.Error()})
		drainInput(link)
		return nil, err
	}
	p.id, p.name, p.instance = hello.Peer, hello.Name, hello.Instance
	p.log = s.log.With("peer", p.id, "remote", p.remote)
	displaced, refusal := s.admit(p, hello, genuine, joins)
	if refusal != nil {
		p.reject(refusal)
		drainInput(link)
		return nil, fmt.Errorf("refused %s: %s", p.id.Short(), refusal.Text)
	}
	if displaced != nil {
		displaced.reject(&wire.Error{Code: wire.CodeDisplaced, Text: "this peer has logged in from elsewhere"})
	}
	var until time.Time
	if p.mailbox != nil {
		until = time.Now().Add(pairTimeout)
	}
	link.KeepReading(until)
	p.welcome()
	return p, nil
}

// challenge asks for a hello and checks its proofs.
func (p *session) challenge(conn *wire.Conn) (hello wire.Hello, genuine, joins bool, err error) {
	s := p.server
	state, ok := conn.ConnectionState()
	if !ok {
		return hello, false, false, errors.New("no TLS")
	}
	binding, err := wire.Binding(&state)
	if err != nil {
		return hello, false, false, err
	}
	c := wire.Challenge{Nonce: make([]byte, 32), Server: s.key}
	rand.Read(c.Nonce)
	p.send(wire.TypeChallenge, 0, c)
	msg, err := p.link.Read()
	if err != nil {
		return hello, false, false, err
	}
	f, err := s.codec.Frame(msg)
	if err != nil {
		return hello, false, false, err
	}
	if f.Type != wire.TypeHello {
		return hello, false, false, fmt.Errorf("%w: message %d instead of a hello", wire.ErrMalformed, f.Type)
	}
	if err := s.codec.Body(f, &hello); err != nil {
		return hello, false, false, err
	}
	genuine, joins = hello.Verify(c, binding, s.secret)
	return hello, genuine, joins, nil
}

// admit decides on a login. It returns the session that is displaced by it, if
// there is one.
func (s *Server) admit(p *session, hello wire.Hello, genuine, joins bool) (*session, *wire.Error) {
	now := time.Now()
	if !genuine {
		return nil, &wire.Error{Code: wire.CodeBadProof, Text: "the signature of the login is wrong"}
	}
	if err := signal.ValidName(hello.Name); err != nil {
		return nil, &wire.Error{Code: wire.CodeBadName, Text: err.Error()}
	}
	if len(hello.Mailbox) > 0 {
		if len(hello.Mailbox) != 32 {
			return nil, &wire.Error{Code: wire.CodeWrongCode, Text: "no such pairing code"}
		}
		p.mailbox = hello.Mailbox
		return nil, s.hub.admit(p, hello.Name, p.remote.Addr(), now)
	}
	if !joins && !s.hub.knows(p.id) {
		return nil, &wire.Error{Code: wire.CodeBadSecret, Text: "the join secret in the URL is not that of this server"}
	}
	displaced, save, refusal := s.hub.join(p, hello.Name, now)
	if save {
		s.changed()
	}
	return displaced, refusal
}

func (p *session) welcome() {
	welcome := wire.Welcome{
		Name:      p.name,
		Heartbeat: uint32(max(1, p.server.heartbeat/time.Second)),
		Observed:  p.remote.String(),
	}
	if ip4, ip6 := p.server.public(); p.remote.Addr().Is4() && ip6.IsValid() {
		welcome.Addr6 = ip6.String()
	} else if p.remote.Addr().Is6() && ip4.IsValid() {
		welcome.Addr = ip4.String()
	}
	p.send(wire.TypeWelcome, 0, welcome)
	if p.mailbox == nil {
		p.log.Debug("peer is here", "local", p.name)
	}
}

// public returns where the whole internet reaches the server, as far as it knows.
func (s *Server) public() (ip4, ip6 netip.AddrPort) {
	if s.cfg.Addresses == nil {
		return ip4, ip6
	}
	var addrs []netip.AddrPort
	for _, ip := range s.cfg.Addresses() {
		if hostport.IsPublic(ip) {
			addrs = append(addrs, netip.AddrPortFrom(ip, s.addr.Port()))
		}
	}
	return hostport.Split(addrs)
}

// read handles what comes until the connection ends, and returns why it did.
func (p *session) read() error {
	for {
		msg, err := p.link.Read()
		if err != nil {
			if errors.Is(err, wire.ErrTooLarge) || errors.Is(err, wire.ErrMalformed) {
				p.reject(&wire.Error{Code: wire.CodeTooLarge, Text: err.Error()})
				drainInput(p.link)
			}
			return err
		}
		if relay.IsFrame(msg) {
			p.relay(msg)
			continue
		}
		f, err := p.server.codec.Frame(msg)
		if err != nil {
			p.reject(&wire.Error{Code: wire.CodeMalformed, Text: err.Error()})
			drainInput(p.link)
			return err
		}
		p.handle(f)
	}
}

// relay forwards one frame, or drops it.
func (p *session) relay(frame []byte) {
	id, packet, ok := relay.ParseFrame(frame)
	if !ok || p.mailbox != nil {
		return
	}
	now := p.link.Heard()
	perSecond, burst := float64(relayPerSecond), float64(relayBurst)
	if rate := p.server.cfg.Relay.Rate; rate > 0 {
		perSecond = float64(rate) * 1024
		burst = max(perSecond/4, minRelayBurst)
	}
	if _, ok := p.relayed.take(float64(len(frame)), perSecond, burst, now); !ok {
		return
	}
	to, ok := p.server.table.Other(id, p.id, now)
	if !ok {
		return
	}
	other, _ := p.server.hub.find(p, to)
	if other == nil {
		return // and nobody pays
	}
	switch ok, left := p.server.table.Pay(id, len(packet), now); {
	case ok:
		other.link.Relay(id, packet)
	case left > 0:
		spent := wire.Spent{Session: id, Left: uint32(left/time.Second) + 1}
		p.send(wire.TypeSpent, 0, spent)
		other.send(wire.TypeSpent, 0, spent)
	}
}

// nextPresence is asked by the link when it has time to write.
func (p *session) nextPresence() []byte {
	presence, ok := p.server.hub.news(p)
	if !ok {
		return nil
	}
	msg, err := p.server.codec.Message(wire.TypePresence, 0, presence)
	if err != nil { // cannot be: an announcement is not larger than a presence
		p.log.Error("presence is not sent", "err", err)
		return nil
	}
	return msg
}

// send queues a message. It reports false if the peer does not keep up, or is
// gone.
func (p *session) send(kind wire.Type, id uint64, body any) bool {
	msg, err := p.server.codec.Message(kind, id, body)
	if err != nil {
		p.server.log.Error("message is not sent", "peer", p.id, "err", err)
		return false
	}
	return p.link.Send(msg) == nil
}

// refuse answers a request.
func (p *session) refuse(id uint64, code wire.Code, text string) {
	p.send(wire.TypeError, id, wire.Error{Code: code, Text: text})
}

// reject ends the session with an error. The peer gets a moment to read it.
func (p *session) reject(e *wire.Error) { p.finish(wire.TypeError, *e, e.Code.CloseCode()) }

func (p *session) finish(kind wire.Type, body any, closeCode int) {
	msg, err := p.server.codec.Message(kind, 0, body)
	if err != nil {
		msg = nil // the close code says enough
	}
	p.link.Finish(msg, closeCode, "", lastWords)
}

// drainInput reads until the other side has closed a finished link: closing
// before that could destroy what was written last.
func drainInput(link *wire.Link) {
	for {
		if _, err := link.Read(); err != nil && !errors.Is(err, wire.ErrTooLarge) && !errors.Is(err, wire.ErrMalformed) {
			return
		}
	}
}
