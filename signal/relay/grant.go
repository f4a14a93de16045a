package relay

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"peerway/signal"
)

// A Key is the secret of a relay on UDP. Whoever has it can let peers use the relay.
type Key [32]byte

// Format implements [fmt.Formatter]: no verb shows the key.
func (Key) Format(f fmt.State, _ rune) { io.WriteString(f, "(key)") }

// LogValue implements [slog.LogValuer].
func (Key) LogValue() slog.Value { return slog.StringValue("(key)") }

// MarshalText implements [encoding.TextMarshaler], for what has one in it.
func (Key) MarshalText() ([]byte, error) { return []byte("(key)"), nil }

// NewKey derives a key from another secret.
func NewKey(secret []byte) (k Key) {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("peerway relay key 1"))
	mac.Sum(k[:0])
	return k
}

// Limits are what two peers may use of a relay, both directions and all their sessions
// together. Zero is no limit.
type Limits struct {
	Rate  uint32 // KiB in a second
	Quota uint32 // MiB in a day, which begins at midnight UTC
}

// A Grant lets one end of a session use a relay on UDP: until a time, for that end of
// that session, within limits. The holder proves it without giving it away: packets
// show a MAC that its secret has made.
type Grant struct {
	Session uint64
	End     uint8  // 0 or 1
	Pair    uint64 // whom the limits are for, see [Key.Pair]
	Until   uint32 // Unix seconds; after that the end cannot be bound anew
	Limits  Limits
	Secret  Secret
}

// A Secret is what the holder of a [Grant] proves it with. It is neither printed, nor logged,
// nor encoded as text.
type Secret [32]byte

// Format implements [fmt.Formatter]: no verb shows the secret.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "(secret)") }

// LogValue implements [slog.LogValuer].
func (Secret) LogValue() slog.Value { return slog.StringValue("(secret)") }

// MarshalText implements [encoding.TextMarshaler], for what has one in it.
func (Secret) MarshalText() ([]byte, error) { return []byte("(secret)"), nil }

// A Place is a relay and what lets one end of a session use it.
type Place struct {
	Addr  netip.AddrPort
	Other netip.AddrPort // of the same relay with the other version of IP; invalid: none
	Grant
}

// Grant makes a grant for one end of a session of a pair of peers.
func (k Key) Grant(session uint64, end uint8, pair uint64, until time.Time, limits Limits) Grant {
	g := Grant{Session: session, End: end, Pair: pair, Until: uint32(until.Unix()), Limits: limits}
	g.Secret = k.secret(g)
	return g
}

// Pair returns what two peers are called in grants, in whatever order: the relay sees that
// they are the same two as before, and need not know who.
func (k Key) Pair(a, b signal.PeerID) uint64 {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("peerway relay pair 1"))
	mac.Write(a[:])
	mac.Write(b[:])
	return binary.BigEndian.Uint64(mac.Sum(nil))
}

// secret returns what only the holder of g and those who have k know.
func (k Key) secret(g Grant) (secret Secret) {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte("peerway relay grant 1"))
	mac.Write(g.append(nil))
	mac.Sum(secret[:0])
	return secret
}

const grantSize = 8 + 1 + 8 + 4 + 4 + 4

// append appends what the secret is made from.
func (g Grant) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, g.Session)
	dst = append(dst, g.End)
	dst = binary.BigEndian.AppendUint64(dst, g.Pair)
	dst = binary.BigEndian.AppendUint32(dst, g.Until)
	dst = binary.BigEndian.AppendUint32(dst, g.Limits.Rate)
	return binary.BigEndian.AppendUint32(dst, g.Limits.Quota)
}

// parseGrant reads what append wrote. b has grantSize bytes.
func parseGrant(b []byte) Grant {
	return Grant{
		Session: binary.BigEndian.Uint64(b),
		End:     b[8],
		Pair:    binary.BigEndian.Uint64(b[9:]),
		Until:   binary.BigEndian.Uint32(b[17:]),
		Limits:  Limits{Rate: binary.BigEndian.Uint32(b[21:]), Quota: binary.BigEndian.Uint32(b[25:])},
	}
}
