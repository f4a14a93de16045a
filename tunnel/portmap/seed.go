package portmap

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"net/netip"
)

// A Seed is the secret that what is asked of a router is made of. With the same one, a process
// asks for what it had before it was killed, and so leaves one mapping at the router however
// often that happens.
type Seed [32]byte

// newSeed returns one that nobody had before.
func newSeed() (s Seed) {
	rand.Read(s[:]) // never fails since Go 1.24
	return s
}

// Port is the local port that is best listened at: routers know a mapping by it.
func (s Seed) Port() uint16 { return s.port(0) }

// port returns the n-th of the ports that are asked for, in the range that is nobody's (RFC 6335
// section 6).
func (s Seed) port(n int) uint16 {
	const first = 49152
	return first + binary.BigEndian.Uint16(s.mac("port", []byte{byte(n)}))%(1<<16-first)
}

// nonce is for the mapping at a router. Another one takes another nonce for another client.
func (s Seed) nonce(gateway netip.AddrPort) (n nonce) {
	copy(n[:], s.mac("nonce", gateway.Addr().AsSlice()))
	return n
}

// mac returns what only who has the seed can make.
func (s Seed) mac(purpose string, of []byte) []byte {
	h := hmac.New(sha256.New, s[:])
	h.Write([]byte(purpose))
	h.Write(of)
	return h.Sum(nil)
}

// LogValue implements [slog.LogValuer].
func (Seed) LogValue() slog.Value { return slog.StringValue("(secret)") }

// String implements [fmt.Stringer].
func (Seed) String() string { return "(secret)" }
