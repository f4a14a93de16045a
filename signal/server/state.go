package server

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"log/slog"
	"time"

	"peerway/signal"
)

// State is what a server must remember from one run to the next. It contains
// secrets, and hides itself from logs.
type State struct {
	Key    []byte        `json:"key"`    // seed of the server's Ed25519 key, 32 bytes
	Secret signal.Secret `json:"secret"` // the join secret
	Peers  []KnownPeer   `json:"peers,omitempty"`
}

// A KnownPeer has logged in or been paired before. It needs no join secret, and
// its name is its own.
type KnownPeer struct {
	ID   signal.PeerID `json:"id"`
	Name string        `json:"name"`
	Seen time.Time     `json:"seen"` // last login, to the day
}

// NewState makes the state of a new server.
func NewState() State {
	s := State{Key: make([]byte, ed25519.SeedSize)}
	rand.Read(s.Key) // never fails since Go 1.24
	rand.Read(s.Secret[:])
	return s
}

// Validate reports what is wrong with s, for instance after it was read from a
// file.
func (s State) Validate() error {
	if len(s.Key) != ed25519.SeedSize {
		return fmt.Errorf("server key of %d bytes, want %d", len(s.Key), ed25519.SeedSize)
	}
	if s.Secret == (signal.Secret{}) {
		return fmt.Errorf("no join secret")
	}
	names := make(map[string]signal.PeerID, len(s.Peers))
	for _, p := range s.Peers {
		if err := signal.ValidName(p.Name); err != nil {
			return fmt.Errorf("known peer %s: %w", p.ID.Short(), err)
		}
		if other, taken := names[p.Name]; taken {
			return fmt.Errorf("known peers %s and %s have the same name %s", other.Short(), p.ID.Short(), p.Name)
		}
		names[p.Name] = p.ID
	}
	return nil
}

// LogValue implements [slog.LogValuer].
func (State) LogValue() slog.Value { return slog.StringValue("(secret)") }

// String implements [fmt.Stringer], so that %v shows no secret.
func (State) String() string { return "(secret)" }
