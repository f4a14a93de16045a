package client

import (
	"errors"
	"testing"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
)

// TestTwoClaims: the first one to use a code goes away before the reply, the
// second one comes before this side knows that.
func TestTwoClaims(t *testing.T) {
	gone := &outcome{Paired: Paired{Peer: signal.PeerID{1}, Name: "gone"}}
	here := &outcome{Paired: Paired{Peer: signal.PeerID{2}, Name: "here"}}
	offline := &serverError{Code: wire.CodeOffline}
	for name, answers := range map[string]func(*Mailbox){
		"the first one was gone":    func(m *Mailbox) { m.passed(gone, offline); m.passed(here, nil) },
		"somebody replied to since": func(m *Mailbox) { m.replied = gone; m.passed(here, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			m := &Mailbox{client: New(Config{}), expires: time.Now().Add(codeLife), done: make(chan struct{}), replied: here}
			answers(m)
			if got, err := m.Wait(t.Context()); err != nil || got != here.Paired {
				t.Errorf("Wait() = %+v, %v, want %+v", got, err, here.Paired)
			}
		})
	}
	m := &Mailbox{client: New(Config{}), expires: time.Now().Add(codeLife), done: make(chan struct{}), replied: here}
	m.passed(here, offline)
	m.passed(here, signal.ErrDisconnected)
	select {
	case <-m.done:
		t.Error("a code that nobody got is used up")
	default:
	}
	if m.settle(errors.New("used")); m.err == nil {
		t.Error("a pairing with nobody")
	}
}
