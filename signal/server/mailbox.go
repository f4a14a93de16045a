package server

import (
	"crypto/sha256"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
)

// maxCodeLife bounds how long a pairing mailbox stays open.
const maxCodeLife = 10 * time.Minute

// A mailbox joins the two sides of a pairing. It outlives its use, so that a
// code that was used or has expired is told from one that never was.
type mailbox struct {
	owner    signal.PeerID
	expires  time.Time
	used     bool
	claimant *session // who waits for a reply
	claim    uint64   // the id of its request
}

// mailboxes are found by a hash of their id, so that the time of a look-up says
// nothing about ids that exist. They are guarded by the lock of the hub.
type mailboxes map[[32]byte]*mailbox

func (m mailboxes) find(id []byte) *mailbox { return m[sha256.Sum256(id)] }

// state returns 0 for a mailbox that may be claimed, or why not.
func (m mailboxes) state(id []byte, now time.Time) wire.Code {
	switch box := m.find(id); {
	case box == nil:
		return wire.CodeWrongCode
	case box.used:
		return wire.CodeCodeUsed
	case !now.Before(box.expires):
		return wire.CodeCodeExpired
	}
	return 0
}

// open opens a mailbox of owner, or does nothing if it is open.
func (m mailboxes) open(id []byte, owner signal.PeerID, life time.Duration, now time.Time) wire.Code {
	if box := m.find(id); box != nil {
		switch {
		case box.owner != owner:
			return wire.CodeNotAllowed
		case box.used:
			return wire.CodeCodeUsed
		case !now.Before(box.expires):
			return wire.CodeCodeExpired
		}
		return 0
	}
	if !m.room(owner, now) {
		return wire.CodeLimit
	}
	m[sha256.Sum256(id)] = &mailbox{owner: owner, expires: now.Add(min(life, maxCodeLife))}
	return 0
}

// room reports whether owner may have one mailbox more, and makes room for it:
// of those that are over, which are only remembered, the oldest is forgotten.
func (m mailboxes) room(owner signal.PeerID, now time.Time) bool {
	count := 0
	var oldest [32]byte
	var over *mailbox
	for key, box := range m {
		if box.owner != owner {
			continue
		}
		count++
		if (box.used || !now.Before(box.expires)) && (over == nil || box.expires.Before(over.expires)) {
			oldest, over = key, box
		}
	}
	if count < maxMailboxes {
		return true
	}
	delete(m, oldest)
	return over != nil
}

// close ends a mailbox of owner.
func (m mailboxes) close(id []byte, owner signal.PeerID, now time.Time) {
	if box := m.find(id); box != nil && box.owner == owner && now.Before(box.expires) {
		box.expires = now
	}
}

// release lets another peer claim what s had claimed.
func (m mailboxes) release(s *session) {
	if box := m.find(s.mailbox); box != nil && box.claimant == s {
		box.claimant = nil
	}
}

// sweep forgets the mailboxes that have been over for as long as they could
// live.
func (m mailboxes) sweep(now time.Time) {
	for key, box := range m {
		if now.Sub(box.expires) > maxCodeLife {
			delete(m, key)
		}
	}
}
