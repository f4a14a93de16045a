package lane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Version is the version of the stream header that this package speaks.
const Version = 1

// Limits of what comes before the data of a stream, in bytes without the two
// bytes of length.
const (
	maxHeader  = 512
	maxAnswer  = 1024
	maxService = 255
	maxText    = 512
)

// A Class says which kind of lane carries a stream.
type Class uint8

const (
	Mixed     Class = iota // shares a lane of the pool
	Dedicated              // has a lane of its own, which ends with it
)

// String returns the name of the class.
func (c Class) String() string {
	switch c {
	case Mixed:
		return "mixed"
	case Dedicated:
		return "dedicated"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// A Header opens a stream: it says what the dialing side wants.
type Header struct {
	Version uint8  `cbor:"0,keyasint"` // of the header; zero when dialing means [Version]
	Service string `cbor:"1,keyasint"` // 1 to 255 bytes
	Class   Class  `cbor:"2,keyasint,omitempty"`
}

// Errors that a header may have.
var (
	errHeader  = errors.New("stream header")
	errVersion = errors.New("unsupported version of the stream header")
)

// Validate reports what is wrong with h.
func (h Header) Validate() error {
	if h.Version != Version {
		return fmt.Errorf("%w: %d, want %d", errVersion, h.Version, Version)
	}
	if h.Service == "" || len(h.Service) > maxService || !utf8.ValidString(h.Service) {
		return fmt.Errorf("%w: service name of %d bytes is empty, too long or not UTF-8", errHeader, len(h.Service))
	}
	if h.Class > Dedicated {
		return fmt.Errorf("%w: unknown class %d", errHeader, h.Class)
	}
	return nil
}

// encode returns h behind its length.
func (h Header) encode() ([]byte, error) {
	if err := h.Validate(); err != nil {
		return nil, err
	}
	return encodePrefixed(h, maxHeader)
}

// parseHeader decodes a header without its length. Of a version that is not
// ours it reads no more than the version.
func parseHeader(b []byte) (Header, error) {
	var h Header
	var version struct {
		Version uint8 `cbor:"0,keyasint"`
	}
	if err := cbor.Unmarshal(b, &version); err != nil {
		return h, fmt.Errorf("%w: %w", errHeader, err)
	}
	if version.Version != Version {
		return h, fmt.Errorf("%w: %d, want %d", errVersion, version.Version, Version)
	}
	if err := cbor.Unmarshal(b, &h); err != nil {
		return Header{}, fmt.Errorf("%w: %w", errHeader, err)
	}
	if err := h.Validate(); err != nil {
		return Header{}, err
	}
	return h, nil
}

// answer is what the accepting side says first.
type answer struct {
	Code uint16 `cbor:"0,keyasint"` // zero accepts
	Text string `cbor:"1,keyasint,omitempty"`
}

// encode returns a behind its length. A text that is too long is cut.
func (a answer) encode() ([]byte, error) {
	a.Text = strings.ToValidUTF8(a.Text, "?")
	if len(a.Text) > maxText {
		a.Text = strings.ToValidUTF8(a.Text[:maxText], "") // without the rest of a character
	}
	return encodePrefixed(a, maxAnswer)
}

// parseAnswer decodes an answer without its length.
func parseAnswer(b []byte) (answer, error) {
	var a answer
	if err := cbor.Unmarshal(b, &a); err != nil {
		return answer{}, fmt.Errorf("answer of the peer: %w", err)
	}
	if len(a.Text) > maxText {
		return answer{}, fmt.Errorf("answer of the peer: text of %d bytes", len(a.Text))
	}
	return a, nil
}

func encodePrefixed(v any, limit int) ([]byte, error) {
	b, err := cbor.Marshal(v)
	if err != nil {
		return nil, err
	}
	if len(b) > limit {
		return nil, fmt.Errorf("%d bytes, at most %d fit", len(b), limit)
	}
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(b)), uint16(len(b))), b...), nil
}
