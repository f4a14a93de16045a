package server

import (
	"net/netip"
	"sync"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
)

// A hub is what all connections share: who is here, who may see whom, and the
// pairing mailboxes. Its methods may be called from any goroutine; they write to
// links, which never blocks.
type hub struct {
	mu        sync.RWMutex
	online    map[signal.PeerID]*session
	directory *directory
	mailboxes mailboxes
	offenders offenders
}

func newHub(peers []KnownPeer) *hub {
	return &hub{
		online:    make(map[signal.PeerID]*session),
		directory: newDirectory(peers),
		mailboxes: make(mailboxes),
		offenders: make(offenders),
	}
}

// join admits a session whose proofs are good under a name, or says why not.
// displaced is the older session of the same peer, if there is one; save is true
// if the directory changed.
func (h *hub) join(s *session, name string, now time.Time) (displaced *session, save bool, refusal *wire.Error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if refusal := h.nameTaken(s.id, name, now); refusal != nil {
		return nil, false, refusal
	}
	save = h.directory.remember(s.id, name, now)
	displaced = h.online[s.id]
	if displaced != nil { // others see no gap until the new session announces
		s.services, s.allow = displaced.services, displaced.allow
	}
	h.online[s.id] = s
	return displaced, save, nil
}

// nameTaken returns the refusal if id may not have the name. The caller holds
// h.mu.
func (h *hub) nameTaken(id signal.PeerID, name string, now time.Time) *wire.Error {
	online := func(id signal.PeerID) bool { return h.online[id] != nil }
	if h.directory.free(name, id, online, now) {
		return nil
	}
	return &wire.Error{Code: wire.CodeNameTaken, Text: "the name " + name + " is taken",
		Suggestion: h.directory.suggest(name)}
}

// admit decides on a login with a pairing mailbox instead of the join secret.
func (h *hub) admit(s *session, name string, from netip.Addr, now time.Time) *wire.Error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if wait := h.offenders.wait(from, now); wait > 0 {
		return &wire.Error{Code: wire.CodeTryLater, RetryAfter: uint32(wait.Milliseconds()),
			Text: "too many wrong pairing codes from this address; wait " + wait.Round(time.Second).String()}
	}
	switch code := h.mailboxes.state(s.mailbox, now); code {
	case 0:
		return h.nameTaken(s.id, name, now)
	case wire.CodeWrongCode:
		h.offenders.wrong(from, now)
		return &wire.Error{Code: code, Text: "no such pairing code"}
	default:
		return codeError(code)
	}
}

func codeError(code wire.Code) *wire.Error {
	e := &wire.Error{Code: code, Text: "the pairing code cannot be used"}
	switch code {
	case wire.CodeCodeUsed:
		e.Text = "this pairing code was used already; ask for a new one"
	case wire.CodeCodeExpired:
		e.Text = "this pairing code has expired; ask for a new one"
	case wire.CodeOffline:
		e.Text = "the peer that made this pairing code is offline"
	case wire.CodeLimit:
		e.Text = "too many pairing codes"
	}
	return e
}

// leave ends a session for the others.
func (h *hub) leave(s *session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mailboxes.release(s)
	if h.online[s.id] != s {
		return
	}
	delete(h.online, s.id)
	for id := range s.allow {
		h.touch(h.online[id], s.id)
	}
}

// announce replaces what a peer exposes and whom it allows.
func (h *hub) announce(s *session, services []signal.Service, allow map[signal.PeerID]struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := s.allow
	s.services, s.allow = services, allow
	for _, set := range []map[signal.PeerID]struct{}{old, allow} {
		for id := range set {
			h.touch(h.online[id], s.id)
			s.dirty[id] = struct{}{}
		}
	}
	s.link.Wake()
}

// touch makes viewer, unless it is nil, hear about id if it asked to. The caller
// holds h.mu.
func (h *hub) touch(viewer *session, id signal.PeerID) {
	if viewer == nil {
		return
	}
	if _, cares := viewer.allow[id]; cares {
		viewer.dirty[id] = struct{}{}
		viewer.link.Wake()
	}
}

// news returns what viewer has not been told yet about one peer, or reports
// false if it knows everything. Changes that come faster than they are written
// become one.
func (h *hub) news(viewer *session) (signal.Presence, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range viewer.dirty {
		delete(viewer.dirty, id)
		p := h.online[id]
		if p == nil || !mutual(p, viewer) {
			return signal.Presence{Peer: id}, true
		}
		return signal.Presence{Peer: id, Name: p.name, Online: true, Instance: p.instance, Services: p.services}, true
	}
	return signal.Presence{}, false
}

// find returns the session of a peer that s may send to, or why it may not.
func (h *hub) find(s *session, to signal.PeerID) (*session, wire.Code) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	p := h.online[to]
	if p == nil {
		return nil, wire.CodeOffline
	}
	if !mutual(p, s) {
		return nil, wire.CodeNotAllowed
	}
	return p, 0
}

// mutual reports whether two peers allow each other.
func mutual(a, b *session) bool {
	_, ab := a.allow[b.id]
	_, ba := b.allow[a.id]
	return ab && ba
}

// sweep forgets what is over and returns the sessions that have been silent
// since.
func (h *hub) sweep(now, since time.Time) (silent []*session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mailboxes.sweep(now)
	h.offenders.sweep(now)
	for _, s := range h.online {
		if s.link.Heard().Before(since) {
			silent = append(silent, s)
		}
	}
	return silent
}

// known returns the directory, to be saved.
func (h *hub) known() []KnownPeer {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.directory.list()
}

// knows reports whether a peer needs no join secret.
func (h *hub) knows(id signal.PeerID) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	_, ok := h.directory.peers[id]
	return ok
}
