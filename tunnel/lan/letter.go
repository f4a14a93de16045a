package lan

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"

	"peerway/signal"
)

// The first byte of what goes from path socket to path socket, between those of STUN and
// ZRTP (RFC 9443 section 2), and apart from those of relays and paths.
const (
	typeLetter byte = 10 // masked sender, sealed message
	typeAck    byte = 11 // proof that the message was opened
)

const (
	// maxLetter is what every local network carries in one piece, in bytes.
	maxLetter = 1400

	idSize       = len(signal.PeerID{})
	letterHeader = 1 + idSize
	ackSize      = 1 + proofSize
	proofSize    = 16

	// sealing is what it adds to a message: an ephemeral key, a signature, a tag.
	sealing   = ephemeral + 64 + 16
	ephemeral = 32

	// MaxMessage bounds a message, in bytes.
	MaxMessage = maxLetter - letterHeader - sealing
)

// A proof shows that a message was opened: only the two ends know what it is a hash of.
type proof [proofSize]byte

func proofOf(message []byte) proof {
	h := sha256.New()
	h.Write([]byte("peerway lan v1 ack\x00"))
	h.Write(message)
	return proof(h.Sum(nil)[:proofSize])
}

// appendAck appends an acknowledgement.
func appendAck(dst []byte, p proof) []byte { return append(append(dst, typeAck), p[:]...) }

// parseAck reads what appendAck writes.
func parseAck(packet []byte) (p proof, ok bool) {
	if len(packet) != ackSize || packet[0] != typeAck {
		return proof{}, false
	}
	return proof(packet[1:]), true
}

// appendLetter appends a letter from one peer to another. Who sees it and does not know
// the addressee learns neither.
func appendLetter(dst []byte, from, to signal.PeerID, sealed []byte) []byte {
	masked := mask(from, to, sealed)
	return append(append(append(dst, typeLetter), masked[:]...), sealed...)
}

// parseLetter reads what appendLetter writes. The sender is a mere claim, and somebody
// unknown unless the letter is for to. sealed is a part of packet.
func parseLetter(packet []byte, to signal.PeerID) (from signal.PeerID, sealed []byte, ok bool) {
	if len(packet) < letterHeader+sealing || len(packet) > maxLetter || packet[0] != typeLetter {
		return signal.PeerID{}, nil, false
	}
	sealed = packet[letterHeader:]
	return mask(signal.PeerID(packet[1:letterHeader]), to, sealed), sealed, true
}

// mask hides an id, or undoes that. Each sealed message begins with an ephemeral key, so
// that no two masks are the same.
func mask(id, to signal.PeerID, sealed []byte) (masked signal.PeerID) {
	mac := hmac.New(sha256.New, to[:])
	mac.Write([]byte("peerway lan v1 from\x00"))
	mac.Write(sealed[:ephemeral])
	subtle.XORBytes(masked[:], id[:], mac.Sum(nil))
	return masked
}
