package client

import (
	"errors"
	"fmt"
	"time"

	"peerway/signal"
	"peerway/signal/internal/wire"
)

// A Reason is the kind of a [RefusedError].
type Reason uint8

// The reasons why a server refuses a peer for good.
const (
	Refused     Reason = iota // none of those below
	NameTaken                 // another peer has the display name
	BadName                   // the display name is not valid
	WrongSecret               // the join secret in the URL is wrong
	WrongPin                  // it is not the server that the URL or code means
	WrongCode                 // the pairing code is not known
	CodeUsed                  // the pairing code was used before
	CodeExpired               // the pairing code is too old
	TryLater                  // too many wrong codes came from this address
)

// A RefusedError says that the server refuses this peer and why. Trying again
// with the same Config does not help.
type RefusedError struct {
	Code       Reason
	Text       string        // for people
	Suggestion string        // with NameTaken: a name that is free
	RetryAfter time.Duration // with TryLater
}

// Error implements error.
func (e *RefusedError) Error() string {
	text := "the signal server refuses this peer: " + e.Text
	if e.Code == WrongPin {
		text = e.Text // it is this peer that refuses
	}
	if e.Suggestion != "" {
		text += fmt.Sprintf("; %q is free", e.Suggestion)
	}
	return text
}

// ErrNoReply marks that the one who made a pairing code does not answer: it may have died or
// lost its network less than a minute ago, so that the server does not know yet.
var ErrNoReply = errors.New("the peer that made the code does not answer")

// A NotAdmittedError says that the one who made a pairing code cannot pair now.
type NotAdmittedError struct {
	Name string // of that one
	Why  string // in its words, for people; not to be trusted
}

// Error implements error.
func (e *NotAdmittedError) Error() string { return fmt.Sprintf("%s cannot pair: %s", e.Name, e.Why) }

// ErrCodeExpired is returned by [Mailbox.Wait] when nobody used the code in
// time.
var ErrCodeExpired = errors.New("the pairing code has expired")

// errSilent ends a connection on which nothing comes any more.
var errSilent = errors.New("the server has gone silent")

// A serverError is an answer of the server that is not a result.
type serverError wire.Error

func (e *serverError) Error() string {
	if e.Text != "" {
		return e.Text
	}
	return fmt.Sprintf("the signal server answers with error %d", e.Code)
}

// Unwrap returns what callers branch on.
func (e *serverError) Unwrap() error {
	switch e.Code {
	case wire.CodeOffline:
		return signal.ErrOffline
	case wire.CodeNotAllowed:
		return signal.ErrNotAllowed
	}
	return nil
}

func (e *serverError) retryAfter() time.Duration {
	return max(time.Duration(e.RetryAfter)*time.Millisecond, 10*time.Millisecond)
}

// refusal returns e as an error of the whole connection.
func (e *serverError) refusal() error {
	switch {
	case e.Code == wire.CodeDisplaced:
		return &displacedError{text: e.Text}
	case !e.Code.Fatal():
		return e
	}
	r := &RefusedError{Text: e.Text, Suggestion: e.Suggestion, RetryAfter: time.Duration(e.RetryAfter) * time.Millisecond}
	switch e.Code {
	case wire.CodeNameTaken:
		r.Code = NameTaken
	case wire.CodeBadName:
		r.Code = BadName
	case wire.CodeBadSecret:
		r.Code = WrongSecret
	case wire.CodeWrongCode:
		r.Code = WrongCode
	case wire.CodeCodeUsed:
		r.Code = CodeUsed
	case wire.CodeCodeExpired:
		r.Code = CodeExpired
	case wire.CodeTryLater:
		r.Code = TryLater
	}
	return r
}

// A displacedError ends a connection because the same peer logged in elsewhere.
type displacedError struct{ text string }

func (e *displacedError) Error() string { return e.text }

// A goingAwayError ends a connection because the server ends.
type goingAwayError struct{ retry time.Duration }

func (e *goingAwayError) Error() string { return "the signal server is going away" }
