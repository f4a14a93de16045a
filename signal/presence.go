package signal

import (
	"errors"
	"fmt"
)

// Errors of sending to a peer through the signal server.
var (
	// ErrOffline: the peer is not connected to the signal server.
	ErrOffline = errors.New("the peer is offline")
	// ErrNotAllowed: the two peers do not both allow each other.
	ErrNotAllowed = errors.New("the peer has not paired with this one")
	// ErrDisconnected: this side has no connection to the signal server now.
	ErrDisconnected = errors.New("not connected to the signal server")
)

// Limits of what one peer announces, and of what it sends in one message.
const (
	MaxServices = 256      // services of one peer
	MaxAllowed  = 1024     // peers that one peer allows
	MaxSealed   = 12 << 10 // bytes of a sealed message that the server carries
)

// maxName is the longest name, in bytes.
const maxName = 32

// A Service is what a peer exposes under a name.
type Service struct {
	Name   string `cbor:"0,keyasint"`
	Scheme string `cbor:"1,keyasint"` // "rtsp", "http", "https" or "tcp"
}

// Presence is what the server tells a peer about another one that has paired
// with it.
type Presence struct {
	Peer     PeerID    `cbor:"0,keyasint"`
	Name     string    `cbor:"1,keyasint,omitempty"` // display name; empty while it is not known
	Online   bool      `cbor:"2,keyasint,omitempty"`
	Instance uint64    `cbor:"3,keyasint,omitempty"` // differs from one process to the next
	Services []Service `cbor:"4,keyasint,omitempty"`
}

// ValidName reports what is wrong with a peer's display name. A valid one is a
// lower-case DNS label of at most 32 characters, because it becomes a part of
// host names.
func ValidName(name string) error { return validLabel("peer name", name) }

// ValidService reports what is wrong with the name of a service. The rules are
// those of [ValidName].
func ValidService(name string) error { return validLabel("service name", name) }

func validLabel(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s is empty", what)
	}
	if len(s) > maxName {
		return fmt.Errorf("%s %.40q is longer than %d characters", what, s, maxName)
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1:
		default:
			return fmt.Errorf("%s %q: only a-z, 0-9 and, inside, - are possible", what, s)
		}
	}
	return nil
}

// Validate reports what is wrong with s.
func (s Service) Validate() error {
	if err := ValidService(s.Name); err != nil {
		return err
	}
	switch s.Scheme {
	case "rtsp", "http", "https", "tcp":
		return nil
	}
	return fmt.Errorf("service %s: scheme %.20q is none of rtsp, http, https, tcp", s.Name, s.Scheme)
}
