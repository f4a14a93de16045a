package signal

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// ErrPeerID is wrapped by every error that a malformed PeerID causes.
var ErrPeerID = errors.New("not a peer id")

// PeerID is the identity of a peer: its Ed25519 public key (RFC 8032). It is a
// value: comparable, and safe to use as a map key.
type PeerID [ed25519.PublicKeySize]byte

// idEncoding is lower-case base32 without padding, so that an id survives being
// read aloud, typed, and put in a URL or a file name.
var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// checksumSize is how many bytes of SHA-256 end the text form of a PeerID. They
// catch typing errors; they protect nothing.
const checksumSize = 3

// String returns the text form: 56 characters of base32, the key followed by a
// checksum.
func (id PeerID) String() string {
	sum := sha256.Sum256(id[:])
	return idEncoding.EncodeToString(append(id[:len(id):len(id)], sum[:checksumSize]...))
}

// Short returns the first eight characters of the text form, for logs.
func (id PeerID) Short() string { return id.String()[:8] }

// IsZero reports whether id is the zero value, which no peer has.
func (id PeerID) IsZero() bool { return id == PeerID{} }

// LogValue implements [slog.LogValuer].
func (id PeerID) LogValue() slog.Value { return slog.StringValue(id.Short()) }

// MarshalText implements [encoding.TextMarshaler].
func (id PeerID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *PeerID) UnmarshalText(text []byte) (err error) {
	*id, err = ParsePeerID(string(text))
	return err
}

// ParsePeerID reads what [PeerID.String] writes. Upper case is accepted.
func ParsePeerID(s string) (PeerID, error) {
	var id PeerID
	if len(s) > 64 {
		return PeerID{}, fmt.Errorf("%w: %d characters", ErrPeerID, len(s))
	}
	raw, err := idEncoding.DecodeString(strings.ToLower(s))
	if err != nil || len(raw) != len(id)+checksumSize {
		return PeerID{}, fmt.Errorf("%w: %q", ErrPeerID, s)
	}
	copy(id[:], raw)
	if id.String() != strings.ToLower(s) {
		return PeerID{}, fmt.Errorf("%w: %q: the checksum does not match, is it mistyped?", ErrPeerID, s)
	}
	return id, nil
}

// An Identity is the private key of a peer. It never appears in a log or an
// error. Its methods may be called from any goroutine.
type Identity struct{ key ed25519.PrivateKey }

// NewIdentity makes a fresh random identity.
func NewIdentity() Identity {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil { // crypto/rand never fails since Go 1.24
		panic(err)
	}
	return Identity{key: key}
}

// IdentityFromSeed returns the identity whose seed [Identity.Seed] returned.
func IdentityFromSeed(seed []byte) (Identity, error) {
	if len(seed) != ed25519.SeedSize {
		return Identity{}, fmt.Errorf("signal: identity seed of %d bytes, want %d", len(seed), ed25519.SeedSize)
	}
	return Identity{key: ed25519.NewKeyFromSeed(seed)}, nil
}

// IsZero reports whether i is the zero value, which is nobody's.
func (i Identity) IsZero() bool { return len(i.key) == 0 }

// Seed returns the secret to store, 32 bytes.
func (i Identity) Seed() []byte { return i.key.Seed() }

// PeerID returns the public half.
func (i Identity) PeerID() PeerID { return PeerID(i.key.Public().(ed25519.PublicKey)) }

// PrivateKey returns the key for use in a TLS certificate. The caller does not
// modify it.
func (i Identity) PrivateKey() ed25519.PrivateKey { return i.key }

// Sign signs message under a context string, so that a signature made for one
// purpose is worth nothing for another.
func (i Identity) Sign(context string, message []byte) []byte {
	return ed25519.Sign(i.key, signed(context, message))
}

// Verify reports whether sig is id's signature of message under context.
func (id PeerID) Verify(context string, message, sig []byte) bool {
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(id[:], signed(context, message), sig)
}

func signed(context string, message []byte) []byte {
	b := make([]byte, 0, len("peerway ")+len(context)+1+len(message))
	b = append(b, "peerway "...)
	b = append(b, context...)
	b = append(b, 0)
	return append(b, message...)
}

// LogValue implements [slog.LogValuer].
func (Identity) LogValue() slog.Value { return slog.StringValue("(secret)") }

// String implements [fmt.Stringer], so that %v of a struct shows no key.
func (Identity) String() string { return "(secret)" }
