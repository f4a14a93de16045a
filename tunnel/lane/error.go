package lane

import (
	"errors"
	"fmt"
	"net"
)

// ErrClosed is wrapped by what [Set.Dial] returns when the set has ended. It
// wraps [net.ErrClosed].
var ErrClosed = fmt.Errorf("the lanes have ended: %w", net.ErrClosed)

// ErrLost is wrapped by the errors of a stream whose lane has ended under it:
// the tunnel is gone, or the peer has given the lane up.
var ErrLost = errors.New("the connection to the peer was lost")

// ErrBusy is wrapped by what [Set.Dial] returns when as many streams are open
// as the set allows.
var ErrBusy = errors.New("too many streams are open to the peer")

// Codes of resets that this package makes. Callers of [Stream.Reset] take codes
// below 0xff00.
const (
	CodeAbandoned   uint16 = 0xff00 // the peer has closed the stream and does not read any more
	CodeSlow        uint16 = 0xff01 // too much unread data for too long, or no header in time
	CodeBusy        uint16 = 0xff02 // too many streams
	CodeBadHeader   uint16 = 0xff03 // also as the code of an answer
	CodeUnsupported uint16 = 0xff04 // a version that the peer does not speak; also as the code of an answer
)

// A ResetError is what Read and Write return when a stream was given up: by the
// peer, or here because of its unread data. Where only the peer's reader is
// gone (CodeAbandoned), Write returns it and Read goes on.
type ResetError struct {
	Code  uint16
	Local bool // it was reset here, not by the peer
}

// Error implements error.
func (e *ResetError) Error() string {
	switch {
	case e.Code == CodeAbandoned:
		return "the peer has closed the stream"
	case e.Code == CodeSlow && e.Local:
		return "stream reset: nobody read its data"
	case e.Code == CodeSlow:
		return "stream reset by the peer: it was too slow"
	case e.Code == CodeBusy:
		return "stream reset by the peer: too many streams are open"
	}
	return fmt.Sprintf("stream reset by the peer (code %d)", e.Code)
}

// A RefusedError is what Read, Write and Answered return when the peer has
// answered with a code other than zero.
type RefusedError struct {
	Code uint16
	Text string // why, for a person; from the peer, at most 512 bytes
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("refused by the peer (code %d)", e.Code)
	}
	return "refused by the peer: " + e.Text
}
