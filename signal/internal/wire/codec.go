package wire

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// ErrMalformed is wrapped by the errors of decoding.
var ErrMalformed = errors.New("malformed message")

// A Codec encodes and decodes messages. It may be used from any goroutine.
type Codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

// NewCodec returns a codec with the limits of the protocol.
func NewCodec() Codec {
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil { // fixed options
		panic(err)
	}
	dec, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  8,
		MaxArrayElements: 1024,
		MaxMapPairs:      64,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	return Codec{enc: enc, dec: dec}
}

// Message encodes a frame with that body; nil is none. It fails if the message
// is longer than [MaxMessage].
func (c Codec) Message(kind Type, id uint64, body any) ([]byte, error) {
	f := Frame{Type: kind, ID: id}
	if body != nil {
		raw, err := c.enc.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode message %d: %w", kind, err)
		}
		f.Body = raw
	}
	b, err := c.enc.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encode message %d: %w", kind, err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("encode message %d: %d bytes, at most %d", kind, len(b), MaxMessage)
	}
	return b, nil
}

// Frame decodes the outer part of a message. The body is a copy.
func (c Codec) Frame(b []byte) (Frame, error) {
	var f Frame
	if len(b) > MaxMessage {
		return Frame{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if len(b) == 0 || b[0]>>5 != 5 { // major type 5: a map
		return Frame{}, fmt.Errorf("%w: not a map", ErrMalformed)
	}
	if err := c.dec.Unmarshal(b, &f); err != nil {
		return Frame{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return f, nil
}

// Body decodes the body of a frame into a pointer to what its type says.
func (c Codec) Body(f Frame, body any) error {
	if len(f.Body) == 0 || f.Body[0]>>5 != 5 {
		return fmt.Errorf("%w: message %d has no body", ErrMalformed, f.Type)
	}
	if err := c.dec.Unmarshal(f.Body, body); err != nil {
		return fmt.Errorf("%w: message %d: %w", ErrMalformed, f.Type, err)
	}
	return nil
}

// Marshal encodes a value that travels inside a box.
func (c Codec) Marshal(v any) ([]byte, error) { return c.enc.Marshal(v) }

// Unmarshal decodes what Marshal encoded.
func (c Codec) Unmarshal(b []byte, v any) error {
	if len(b) > MaxMessage {
		return fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if err := c.dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}
