package server

import (
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
)

// Codes that were used or have expired do not use up what a peer may have open,
// and a peer cannot make the server remember more than that.
func TestMailboxesThatAreOverMakeRoom(t *testing.T) {
	now := time.Unix(1000, 0)
	owner, other := signal.PeerID{1}, signal.PeerID{2}
	m := make(mailboxes)
	m.open([]byte("other"), other, time.Minute, now)
	for i := range byte(3 * maxMailboxes) {
		now = now.Add(time.Second)
		id := []byte{i}
		if code := m.open(id, owner, maxCodeLife, now); code != 0 {
			t.Fatalf("code %d is refused: %v", i, code)
		}
		if i%2 == 0 {
			m.find(id).used = true
		} else {
			m.close(id, owner, now)
		}
	}
	if want := maxMailboxes + 1; len(m) != want || m.find([]byte("other")) == nil {
		t.Errorf("%d mailboxes are kept, want %d", len(m), want)
	}
	if got := m.state([]byte{3*maxMailboxes - 2}, now); got != wire.CodeCodeUsed {
		t.Errorf("the last code that was used is told as %v", got)
	}

	m = make(mailboxes)
	for i := range byte(maxMailboxes) {
		m.open([]byte{i}, owner, maxCodeLife, now)
	}
	if code := m.open([]byte("more"), owner, maxCodeLife, now); code != wire.CodeLimit || len(m) != maxMailboxes {
		t.Errorf("got %v with %d mailboxes open, want %v", code, len(m), wire.CodeLimit)
	}
}
