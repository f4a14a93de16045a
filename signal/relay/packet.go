package relay

import "encoding/binary"

// The first byte of what peers and relay say to each other on UDP, between those of
// STUN and ZRTP (RFC 9443 section 2), and apart from what peers say to each other.
const (
	typePacket byte = 7 // session, one packet: from one end, for the other
	typeBind   byte = 8 // see bind.go
	typeAnswer byte = 9
	typeAsk    byte = 12 // see load.go; 10 and 11 are for peers in one network
	typeLoad   byte = 13
)

// AppendHeader appends what goes before a packet of a session on UDP. It takes
// [HeaderSize] bytes.
func AppendHeader(dst []byte, session uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, typePacket), session)
}

// IsPacket reports whether b, from UDP, looks like a packet of a session.
func IsPacket(b []byte) bool { return len(b) > HeaderSize && b[0] == typePacket }

// SplitPacket returns the session of what [IsPacket] accepts, and the packet, which
// is a part of b.
func SplitPacket(b []byte) (session uint64, packet []byte) {
	return binary.BigEndian.Uint64(b[1:]), b[HeaderSize:]
}

// IsAnswer reports whether b, from UDP, looks like a relay's answer to a [Binding].
func IsAnswer(b []byte) bool { return len(b) == answerSize && b[0] == typeAnswer }

// AnswerSession returns the session of what [IsAnswer] accepts.
func AnswerSession(b []byte) uint64 { return binary.BigEndian.Uint64(b[2:]) }
