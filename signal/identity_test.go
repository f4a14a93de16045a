package signal_test

import (
	"errors"
	"testing"

	"peerway/signal"
)

func TestPeerIDSurvivesText(t *testing.T) {
	id := signal.NewIdentity().PeerID()
	got, err := signal.ParsePeerID(id.String())
	if err != nil || got != id {
		t.Errorf("ParsePeerID(%q) = %v, %v", id.String(), got, err)
	}
	typo := []byte(id.String())
	typo[5] = 'a' + (typo[5]-'a'+1)%26
	if _, err := signal.ParsePeerID(string(typo)); !errors.Is(err, signal.ErrPeerID) {
		t.Errorf("ParsePeerID of a mistyped id = %v, want %v", err, signal.ErrPeerID)
	}
}

func TestAgree(t *testing.T) {
	alice, bob, eve := signal.NewIdentity(), signal.NewIdentity(), signal.NewIdentity()
	agreed := func(i signal.Identity, with signal.PeerID, context string) [32]byte {
		t.Helper()
		secret, err := i.Agree(with, context)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	secret := agreed(alice, bob.PeerID(), "a")
	if agreed(bob, alice.PeerID(), "a") != secret {
		t.Error("the two do not agree")
	}
	for _, other := range [][32]byte{{}, agreed(alice, bob.PeerID(), "b"), agreed(alice, eve.PeerID(), "a"), agreed(eve, bob.PeerID(), "a")} {
		if other == secret {
			t.Error("somebody else has the same secret")
		}
	}
	for _, bad := range []signal.PeerID{{}, {1}, {2}} { // of low order, or no point
		if secret, err := alice.Agree(bad, "a"); err == nil {
			t.Errorf("Agree(%x) = %x", bad[:1], secret)
		}
	}
}

func TestSeal(t *testing.T) {
	alice, bob, eve := signal.NewIdentity(), signal.NewIdentity(), signal.NewIdentity()
	box, err := alice.Seal(bob.PeerID(), []byte("offer"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := bob.Open(alice.PeerID(), box)
	if err != nil || string(got) != "offer" {
		t.Errorf("Open() = %q, %v", got, err)
	}
	if _, err := bob.Open(eve.PeerID(), box); !errors.Is(err, signal.ErrSeal) {
		t.Errorf("Open as if from another peer = %v, want %v", err, signal.ErrSeal)
	}
	if _, err := eve.Open(alice.PeerID(), box); !errors.Is(err, signal.ErrSeal) {
		t.Errorf("Open by another peer = %v, want %v", err, signal.ErrSeal)
	}
	for i := range box {
		bad := append([]byte(nil), box...)
		bad[i] ^= 1
		if _, err := bob.Open(alice.PeerID(), bad); !errors.Is(err, signal.ErrSeal) {
			t.Fatalf("Open with byte %d changed = %v, want %v", i, err, signal.ErrSeal)
		}
	}
}
