package lane

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The frames of yamux, version 0: a header of twelve bytes (version, kind,
// flags, stream, length), then the body of a data frame.
const (
	frameSize = 12

	kindData   = 0
	kindWindow = 1 // length is the window that is granted in addition
	kindPing   = 2
	kindGoAway = 3

	flagSYN  = 1 << 0
	flagACK  = 1 << 1
	flagFIN  = 1 << 2
	flagRST  = 1 << 3
	flagStop = 1 << 4 // ours: the sender does not read any more
	flagFull = 1 << 5 // ours: the sender writes, and has little left of the window

	// initialWindow is what may be sent on a new stream without a grant.
	initialWindow = 256 << 10
	// longestBody is more than any window grants.
	longestBody = 64 << 20
)

// errProtocol is wrapped by the error of a lane whose peer breaks the rules.
var errProtocol = errors.New("protocol violation")

type frame struct {
	kind   uint8
	flags  uint16
	id     uint32
	length uint32
}

// parseFrame decodes the header in b, which holds frameSize bytes.
func parseFrame(b []byte) (frame, error) {
	f := frame{
		kind:   b[1],
		flags:  binary.BigEndian.Uint16(b[2:]),
		id:     binary.BigEndian.Uint32(b[4:]),
		length: binary.BigEndian.Uint32(b[8:]),
	}
	if b[0] != 0 || f.kind > kindGoAway {
		return frame{}, fmt.Errorf("%w: frame of version %d, kind %d", errProtocol, b[0], f.kind)
	}
	return f, nil
}

// appendTo appends the encoded header to b.
func (f frame) appendTo(b []byte) []byte {
	b = append(b, 0, f.kind)
	b = binary.BigEndian.AppendUint16(b, f.flags)
	b = binary.BigEndian.AppendUint32(b, f.id)
	return binary.BigEndian.AppendUint32(b, f.length)
}
