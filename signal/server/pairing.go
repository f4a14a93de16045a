package server

import (
	"time"

	"peerway/signal/internal/wire"
)

// openMailbox opens a mailbox for s.
func (h *hub) openMailbox(s *session, m wire.Mailbox, now time.Time) wire.Code {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mailboxes.open(m.ID, s.id, time.Duration(m.TTL)*time.Second, now)
}

func (h *hub) closeMailbox(s *session, m wire.Mailbox, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mailboxes.close(m.ID, s.id, now)
}

// claim passes the box of s to the owner of the mailbox s logged in with.
func (h *hub) claim(s *session, request uint64, box []byte, now time.Time) wire.Code {
	h.mu.Lock()
	defer h.mu.Unlock()
	if code := h.mailboxes.state(s.mailbox, now); code != 0 {
		return code
	}
	mailbox := h.mailboxes.find(s.mailbox)
	if mailbox.claimant != nil {
		return wire.CodeCodeUsed
	}
	owner := h.online[mailbox.owner]
	if owner == nil || !owner.send(wire.TypeMailboxTaken, 0, wire.Mailbox{ID: s.mailbox, Box: box, Peer: s.id}) {
		return wire.CodeOffline
	}
	mailbox.claimant, mailbox.claim = s, request
	return 0
}

// reply passes the owner's box to the claimant. With it the code is used up and
// the claimant is known. Without a box the owner has refused, and the code is
// still good.
func (h *hub) reply(s *session, m wire.Mailbox, now time.Time) (save bool, code wire.Code) {
	h.mu.Lock()
	defer h.mu.Unlock()
	box := h.mailboxes.find(m.ID)
	if box == nil || box.owner != s.id {
		return false, wire.CodeNotAllowed
	}
	claimant := box.claimant
	if claimant == nil || claimant.id != m.Peer {
		return false, wire.CodeOffline
	}
	box.claimant = nil
	if len(m.Box) == 0 {
		claimant.refuse(box.claim, wire.CodeNotAllowed, "the other side refuses this pairing code")
		return false, 0
	}
	if !claimant.send(wire.TypeMailboxReady, box.claim, wire.Mailbox{ID: m.ID, Box: m.Box}) {
		return false, wire.CodeOffline
	}
	box.used = true
	if h.nameTaken(claimant.id, claimant.name, now) != nil {
		return false, 0 // taken a moment ago: the login will say so
	}
	return h.directory.remember(claimant.id, claimant.name, now), 0
}
