package client_test

import (
	"errors"
	"testing"

	"peerway/signal"
	"peerway/signal/client"
)

func TestWrongSecretAndPin(t *testing.T) {
	s := newServer(t)
	bad := s.url
	bad.Secret[3] ^= 1
	wantRefused(t, newPeer(t, bad, "home").Run(t.Context()), client.WrongSecret)
	bad.Secret = signal.Secret{}
	wantRefused(t, newPeer(t, bad, "home").Run(t.Context()), client.WrongSecret)
	bad = s.url
	bad.Pin[0] ^= 1
	other := newPeer(t, bad, "home")
	if err := other.Trouble().Err; err != nil {
		t.Errorf("Trouble before Run = %v", err)
	}
	wantRefused(t, other.Run(t.Context()), client.WrongPin)
	wantRefused(t, other.Trouble().Err, client.WrongPin)
	err := other.Send(t.Context(), other.id(), []byte("x"))
	if wantRefused(t, err, client.WrongPin); !errors.Is(err, signal.ErrDisconnected) {
		t.Errorf("Send = %v, want %v too", err, signal.ErrDisconnected)
	}

	known := newPeer(t, s.url, "home").run()
	known.want("connected", nil)
	if err := known.Trouble().Err; err != nil {
		t.Errorf("Trouble of a connection = %v", err)
	}
	known.stop()
	bad = s.url
	bad.Secret = signal.Secret{}
	same := func(cfg *client.Config) { cfg.Identity = known.identity }
	newPeer(t, bad, "home", same).run().want("connected", nil)
}
