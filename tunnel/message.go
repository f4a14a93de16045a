package tunnel

import (
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"peerway/tunnel/punch"
)

// A message is what two peers tell each other about their tunnel: sealed and
// through the signal server while there is none, over its control stream
// afterwards. Keys are never reused; unknown keys are ignored and unknown kinds
// dropped, so that a newer peer can say more.
type message struct {
	Kind     kind   `cbor:"1,keyasint"`
	Session  uint64 `cbor:"2,keyasint,omitempty"` // what the message belongs to, and the session at the relay
	Instance uint64 `cbor:"3,keyasint,omitempty"` // which life of the sending process
	Attempt  uint32 `cbor:"4,keyasint,omitempty"` // which attempt to find a direct path, from 0

	Punch      *punch.Description `cbor:"5,keyasint,omitempty"`
	Candidates []string           `cbor:"6,keyasint,omitempty"`

	// With candidates: what this side has found out about its NAT since it described itself.
	Hard  bool `cbor:"9,keyasint,omitempty"`
	Delta int8 `cbor:"10,keyasint,omitempty"`

	Aside  uint8  `cbor:"11,keyasint,omitempty"`
	Limits Limits `cbor:"12,keyasint,omitempty"` // of the sender, with hello, pingAsk and pingPong

	Nonce uint64 `cbor:"7,keyasint,omitempty"` // of pingAsk, repeated in pingPong
	Why   string `cbor:"8,keyasint,omitempty"` // the sender knows of no direct path; at most maxWhy bytes
}

// A kind says what a message means.
type kind uint8

const (
	offer      kind = 1 // let us have a tunnel; Punch is attempt 0
	answer     kind = 2 // yes; Punch answers attempt 0
	candidates kind = 4 // further candidates for Attempt
	punchOffer kind = 5 // let us try for a direct path again
	punchReply kind = 6 // yes
	punchWish  kind = 7 // from the end that answers attempts: please start one
	idleAsk    kind = 8 // no stream here for a while: shall we end?
	idleAgree  kind = 9
	idleRefuse kind = 10
	hello      kind = 11 // the first on the control stream
	pingAsk    kind = 12 // answered with pingPong
	pingPong   kind = 13
	putAside   kind = 14 // to the end that answers attempts: use the paths of Aside no more, and the others again
)

// What Aside of a message may hold.
const (
	asideDirect uint8 = 1 << iota
	asideRelay
)

// maxMessage bounds an encoded message, in bytes.
const maxMessage = 8 << 10

// maxWhy bounds a reason, in bytes.
const maxWhy = 512

// maxCandidates bounds the candidates of one message.
const maxCandidates = 16

var errMessage = errors.New("malformed message")

// encode returns the message in CBOR.
func (m message) encode() ([]byte, error) {
	b, err := cbor.Marshal(m)
	if err == nil && len(b) > maxMessage {
		err = fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	return b, err
}

// fit is encode for at most so many bytes: the candidates that are named last, and are the
// least likely, stay behind.
func (m message) fit(bytes int) ([]byte, error) {
	for {
		b, err := m.encode()
		if err != nil || len(b) <= bytes {
			return b, err
		}
		switch {
		case m.Punch != nil && len(m.Punch.Candidates) > 0:
			d := *m.Punch // others have it too
			d.Candidates = d.Candidates[:len(d.Candidates)-1]
			m.Punch = &d
		case len(m.Candidates) > 0:
			m.Candidates = m.Candidates[:len(m.Candidates)-1]
		default:
			return nil, fmt.Errorf("%w: %d bytes", errMessage, len(b))
		}
	}
}

// decodeMessage reads what encode writes. Everything in b is hostile.
func decodeMessage(b []byte) (message, error) {
	if len(b) > maxMessage {
		return message{}, fmt.Errorf("%w: %d bytes", errMessage, len(b))
	}
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  4,
		MaxArrayElements: 16,
		MaxMapPairs:      32,
	}.DecMode()
	if err != nil {
		return message{}, err
	}
	var m message
	if err := mode.Unmarshal(b, &m); err != nil {
		return message{}, fmt.Errorf("%w: %w", errMessage, err)
	}
	if len(m.Candidates) > maxCandidates || len(m.Why) > maxWhy {
		return message{}, fmt.Errorf("%w: too long", errMessage)
	}
	if m.Punch != nil {
		if err := m.Punch.Validate(); err != nil {
			return message{}, fmt.Errorf("%w: %w", errMessage, err)
		}
	}
	return m, nil
}
