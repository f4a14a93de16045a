package relay

import "encoding/binary"

// frameType is the first byte of a frame with one packet. Its two top bits are
// 00: a CBOR map, the other thing on a signal websocket, begins with 101.
const frameType = 0x01

// HeaderSize is how many bytes a frame adds to its packet.
const HeaderSize = 9

// MaxPacket is the longest packet that is relayed, in bytes.
const MaxPacket = 1500

// AppendFrame appends the frame of one packet of a session to dst.
func AppendFrame(dst []byte, session uint64, packet []byte) []byte {
	dst = append(dst, frameType)
	dst = binary.BigEndian.AppendUint64(dst, session)
	return append(dst, packet...)
}

// ParseFrame splits a frame. The packet is a part of b. It reports false for
// what is not a frame.
func ParseFrame(b []byte) (session uint64, packet []byte, ok bool) {
	if len(b) < HeaderSize || len(b) > HeaderSize+MaxPacket || b[0] != frameType {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(b[1:]), b[HeaderSize:], true
}

// IsFrame reports whether a message of a signal websocket is meant for the
// relay: its first two bits are 00.
func IsFrame(b []byte) bool { return len(b) > 0 && b[0]>>6 == 0 }
