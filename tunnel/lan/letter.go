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
	typeLetter    byte = 10 // masked sender, cookie, tag, sealed message
	typeAck       byte = 11 // proof that the message was opened
	typeChallenge byte = 14 // number of the letter, the cookie it should have, tag
)

const (
	// maxLetter is what every local network carries in one piece, in bytes.
	maxLetter = 1400

	idSize        = len(signal.PeerID{})
	tagSize       = len(tag{})
	letterHeader  = 1 + idSize + 2*tagSize
	ackSize       = 1 + tagSize
	challengeSize = 1 + 3*tagSize

	// sealing is what it adds to a message: an ephemeral key, a signature, a tag.
	sealing   = ephemeral + 64 + 16
	ephemeral = 32

	// MaxMessage bounds a message, in bytes.
	MaxMessage = maxLetter - letterHeader - sealing
)

// A letter is one that has arrived.
type letter struct {
	from   signal.PeerID // a claim, as long as the tag was not looked at
	cookie cookie
	tag    tag
	sealed []byte
}

// id returns the number of the letter. It is random: each sealed message begins with an
// ephemeral key.
func (l *letter) id() tag { return tag(l.sealed) }

func (l *letter) tagBy(key *[32]byte) tag { return tagOf(key, forLetter, l.cookie[:], l.sealed) }

// append appends the letter to one peer. Who sees it and does not know the addressee learns
// neither.
func (l *letter) append(dst []byte, to signal.PeerID) []byte {
	masked := mask(l.from, to, l.sealed[:ephemeral])
	dst = append(append(dst, typeLetter), masked[:]...)
	dst = append(append(dst, l.cookie[:]...), l.tag[:]...)
	return append(dst, l.sealed...)
}

// parseLetter reads what append writes. The sender is somebody unknown unless the letter is
// for to. sealed is a part of packet.
func parseLetter(packet []byte, to signal.PeerID) (l letter, ok bool) {
	if len(packet) < letterHeader+sealing || len(packet) > maxLetter || packet[0] != typeLetter {
		return letter{}, false
	}
	rest := packet[1+idSize:]
	l.cookie, l.tag, l.sealed = cookie(rest), tag(rest[tagSize:]), rest[2*tagSize:]
	l.from = mask(signal.PeerID(packet[1:]), to, l.sealed[:ephemeral])
	return l, true
}

// mask hides an id, or undoes that. No salt comes twice.
func mask(id, to signal.PeerID, salt []byte) (masked signal.PeerID) {
	mac := hmac.New(sha256.New, to[:])
	mac.Write([]byte("peerway lan v1 from\x00"))
	mac.Write(salt)
	subtle.XORBytes(masked[:], id[:], mac.Sum(nil))
	return masked
}

// proofOf shows that a message was opened: only the two ends know what it is a hash of.
func proofOf(message []byte) tag {
	h := sha256.New()
	h.Write([]byte("peerway lan v1 ack\x00"))
	h.Write(message)
	return tag(h.Sum(nil)[:tagSize])
}

// appendAck appends an acknowledgement.
func appendAck(dst []byte, proof tag) []byte { return append(append(dst, typeAck), proof[:]...) }

// parseAck reads what appendAck writes.
func parseAck(packet []byte) (proof tag, ok bool) {
	if len(packet) != ackSize || packet[0] != typeAck {
		return tag{}, false
	}
	return tag(packet[1:]), true
}

// A challenge says that a letter has arrived and which cookie it should have.
type challenge struct {
	id     tag
	cookie cookie
	tag    tag
}

func (c *challenge) tagBy(key *[32]byte) tag { return tagOf(key, forChallenge, c.id[:], c.cookie[:]) }

func (c *challenge) append(dst []byte) []byte {
	return append(append(append(append(dst, typeChallenge), c.id[:]...), c.cookie[:]...), c.tag[:]...)
}

// parseChallenge reads what append writes.
func parseChallenge(packet []byte) (c challenge, ok bool) {
	if len(packet) != challengeSize || packet[0] != typeChallenge {
		return challenge{}, false
	}
	return challenge{tag(packet[1:]), cookie(packet[1+tagSize:]), tag(packet[1+2*tagSize:])}, true
}
