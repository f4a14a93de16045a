package server

import (
	"fmt"
	"slices"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
)

// handle carries out one message. Whatever is wrong with it is answered; the
// connection stays.
func (p *session) handle(f wire.Frame) {
	now := p.link.Heard()
	switch f.Type {
	case wire.TypePing:
		p.send(wire.TypePong, f.ID, nil)
		return
	case wire.TypeBind:
		if p.mailbox == nil {
			p.bind(f, now)
		}
		return
	}
	if wait, ok := p.requests.take(1, requestsPerSecond, requestBurst, now); !ok {
		p.send(wire.TypeError, f.ID, wire.Error{Code: wire.CodeRateLimited,
			Text: "too many requests", RetryAfter: uint32(wait.Milliseconds()) + 1})
		return
	}
	if p.mailbox != nil && f.Type != wire.TypeMailboxClaim {
		p.refuse(f.ID, wire.CodeNotAllowed, "this connection is for pairing only")
		return
	}
	code, text := p.carryOut(f, now)
	if code != 0 {
		p.refuse(f.ID, code, text)
	}
}

// carryOut returns 0 or an error to answer with.
func (p *session) carryOut(f wire.Frame, now time.Time) (wire.Code, string) {
	codec := p.server.codec
	switch f.Type {
	case wire.TypeAnnounce:
		var part wire.Announce
		if err := codec.Body(f, &part); err != nil {
			return wire.CodeMalformed, err.Error()
		}
		return p.announce(part)
	case wire.TypeSend:
		var sealed wire.Sealed
		if err := codec.Body(f, &sealed); err != nil {
			return wire.CodeMalformed, err.Error()
		}
		return p.deliver(f.ID, sealed)
	case wire.TypeMailboxOpen, wire.TypeMailboxClose, wire.TypeMailboxClaim, wire.TypeMailboxReply:
		var m wire.Mailbox
		if err := codec.Body(f, &m); err != nil {
			return wire.CodeMalformed, err.Error()
		}
		if len(m.ID) != 32 || len(m.Box) > signal.MaxSealed {
			return wire.CodeMalformed, "malformed mailbox"
		}
		return p.pairing(f, m, now)
	}
	return wire.CodeUnsupported, fmt.Sprintf("message type %d is not supported", f.Type)
}

// announce collects the parts of an announcement and applies the last.
func (p *session) announce(part wire.Announce) (wire.Code, string) {
	services := append(p.parts.Services, part.Services...)
	allow := append(p.parts.Allow, part.Allow...)
	p.parts = wire.Announce{}
	if len(services) > signal.MaxServices || len(allow) > signal.MaxAllowed {
		return wire.CodeLimit, fmt.Sprintf("at most %d services and %d peers", signal.MaxServices, signal.MaxAllowed)
	}
	for _, s := range part.Services {
		if err := s.Validate(); err != nil {
			return wire.CodeMalformed, err.Error()
		}
	}
	if part.More {
		p.parts = wire.Announce{Services: services, Allow: allow}
		return 0, ""
	}
	set := make(map[signal.PeerID]struct{}, len(allow))
	for _, id := range allow {
		set[id] = struct{}{}
	}
	delete(set, p.id)
	p.server.hub.announce(p, slices.Clip(services), set)
	return 0, ""
}

// deliver passes a sealed message on.
func (p *session) deliver(request uint64, m wire.Sealed) (wire.Code, string) {
	if len(m.Box) > signal.MaxSealed {
		return wire.CodeTooLarge, fmt.Sprintf("a message of %d bytes, at most %d", len(m.Box), signal.MaxSealed)
	}
	to, code := p.server.hub.find(p, m.Peer)
	switch code {
	case wire.CodeOffline:
		return code, signal.ErrOffline.Error()
	case wire.CodeNotAllowed:
		return code, signal.ErrNotAllowed.Error()
	}
	if !to.send(wire.TypeDeliver, 0, wire.Sealed{Peer: p.id, Box: m.Box}) {
		return wire.CodeBusy, "the peer does not keep up"
	}
	p.result(request)
	return 0, ""
}

// bind makes a relay session. Who may talk to whom is looked at for each frame,
// so that a bind may come before the other side has announced.
func (p *session) bind(f wire.Frame, now time.Time) {
	var b wire.Bind
	if err := p.server.codec.Body(f, &b); err != nil {
		p.refuse(f.ID, wire.CodeMalformed, err.Error())
		return
	}
	if len(b.Relays) > wire.MaxRelays {
		p.refuse(f.ID, wire.CodeMalformed, fmt.Sprintf("%d relays, at most %d", len(b.Relays), wire.MaxRelays))
		return
	}
	if wait, ok := p.binds.take(1, bindsPerSecond, bindBurst, now); !ok {
		p.send(wire.TypeError, f.ID, wire.Error{Code: wire.CodeRateLimited,
			Text: "too many binds", RetryAfter: uint32(wait.Milliseconds()) + 1})
		return
	}
	end, err := p.server.table.Bind(b.Session, p.id, b.To, now)
	if err != nil {
		p.refuse(f.ID, wire.CodeNotAllowed, err.Error())
		return
	}
	if other, _ := p.server.hub.find(p, b.To); other != nil {
		p.grant(b, end, now)
	}
}

// grantLife is how long a grant is good for. Binds are repeated more often.
const grantLife = 10 * time.Minute

// grant lets the peer use relays on UDP for one end of a session. Frames on the
// websocket are looked at one by one; there, two peers who may not talk any more can go
// on at relays where both are bound, as if the signal server were away.
func (p *session) grant(b wire.Bind, end uint8, now time.Time) {
	var grants []wire.Grant
	for _, m := range p.server.table.Assign(b.Session, p.server.fleet, b.Relays, now) {
		key := m.Key()
		g := key.Grant(b.Session, end, key.Pair(p.id, b.To), m.Clock(now).Add(grantLife), p.server.cfg.Relay)
		grant := wire.Grant{End: g.End, Pair: g.Pair, Until: g.Until, Rate: g.Limits.Rate, Quota: g.Limits.Quota, Secret: g.Secret[:]}
		ip4, ip6 := m.Addrs()
		if ip4.IsValid() {
			grant.Addr = ip4.String()
		}
		if ip6.IsValid() {
			grant.Addr6 = ip6.String()
		}
		grants = append(grants, grant)
	}
	if len(grants) > 0 {
		p.send(wire.TypeGrants, 0, wire.Grants{Session: b.Session, Grants: grants})
	}
}

// pairing carries out what concerns a mailbox.
func (p *session) pairing(f wire.Frame, m wire.Mailbox, now time.Time) (wire.Code, string) {
	hub := p.server.hub
	var code wire.Code
	switch f.Type {
	case wire.TypeMailboxOpen:
		code = hub.openMailbox(p, m, now)
	case wire.TypeMailboxClose:
		hub.closeMailbox(p, m, now)
	case wire.TypeMailboxReply:
		var save bool
		if save, code = hub.reply(p, m, now); save {
			p.server.changed()
		}
	case wire.TypeMailboxClaim:
		if p.mailbox == nil || !slices.Equal(m.ID, p.mailbox) {
			return wire.CodeNotAllowed, "not the mailbox of this login"
		}
		code = hub.claim(p, f.ID, m.Box, now)
		if code == 0 {
			return 0, "" // the reply answers it
		}
	}
	if code != 0 {
		return code, codeError(code).Text
	}
	p.result(f.ID)
	return 0, ""
}

func (p *session) result(id uint64) {
	if id != 0 {
		p.send(wire.TypeResult, id, nil)
	}
}
