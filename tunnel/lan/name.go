package lan

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
	"time"

	"peerway/signal"
)

// Sizes of what a name is made of, in bytes.
const (
	nonceSize = 8
	nameMAC   = 16
)

// newName returns a name for a peer that nobody can recognise who does not know its id,
// and that is never the same twice: an instance of a service (RFC 6763 section 4.1.1).
func newName(peer signal.PeerID, now time.Time) string {
	var nonce [nonceSize]byte
	rand.Read(nonce[:]) // never fails since Go 1.24
	return nameOf(peer, nonce[:], now)
}

func nameOf(peer signal.PeerID, nonce []byte, day time.Time) string {
	mac := hmac.New(sha256.New, peer[:])
	mac.Write([]byte("peerway lan v1 name\x00" + day.UTC().Format(time.DateOnly)))
	mac.Write(nonce)
	b := append(nonce[:len(nonce):len(nonce)], mac.Sum(nil)[:nameMAC]...)
	return strings.ToLower(nameEncoding().EncodeToString(b))
}

// isName reports whether name is one of peer's. Those of the day before and after count,
// because clocks differ. Case does not matter (RFC 6762 section 16).
func isName(name string, peer signal.PeerID, now time.Time) bool {
	name = strings.ToLower(name)
	b, err := nameEncoding().DecodeString(strings.ToUpper(name))
	if err != nil || len(b) != nonceSize+nameMAC {
		return false
	}
	for day := -1; day <= 1; day++ {
		if name == nameOf(peer, b[:nonceSize], now.UTC().AddDate(0, 0, day)) {
			return true
		}
	}
	return false
}

func nameEncoding() *base32.Encoding { return base32.StdEncoding.WithPadding(base32.NoPadding) }
