package proxy

import "fmt"

// A Code is the kind of an [Error], for programs. The values are part of the
// protocol between peers.
type Code uint8

const (
	CodeNone        Code = iota // nothing failed: the answer to a stream that is accepted
	CodeOther                   // none of the following
	CodeUnknownName             // no such peer or service
	CodePeerOffline             // the peer is not connected to the signal server
	CodeNoPath                  // the peer is there but no packet gets through
	CodeUpstream                // the peer could not reach the real server
	CodeNotAllowed              // the peer refuses
)

// String returns the code as it is written in headers and JSON.
func (c Code) String() string {
	switch c {
	case CodeNone:
		return "none"
	case CodeUnknownName:
		return "unknown-name"
	case CodePeerOffline:
		return "peer-offline"
	case CodeNoPath:
		return "no-path"
	case CodeUpstream:
		return "upstream"
	case CodeNotAllowed:
		return "not-allowed"
	}
	return "other"
}

// A Hop is the place on the way from the viewer to the real server where
// something failed.
type Hop string

// The hops, in the order in which a connection meets them.
const (
	HopGateway Hop = "gateway"       // this process
	HopSignal  Hop = "signal server" // the introduction
	HopPath    Hop = "path"          // the tunnel between the peers
	HopPeer    Hop = "peer"          // the process beside the real server
	HopServer  Hop = "server"        // the camera or web server itself
)

// An Error tells a person what failed, where on the way, why, and what to do.
// It holds no secret: it may be shown to whoever made the request.
type Error struct {
	Code   Code
	Hop    Hop
	Target Target // what was asked for; its fields may be empty
	Reason string // why, one sentence without a full stop
	Fix    string // what to do, one sentence without a full stop; may be empty
	Err    error  // the cause; may be nil
}

// Error says it all in one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("failed at the %s: %s", e.Hop, e.Reason)
	if e.Target != (Target{}) {
		s = e.Target.String() + ": " + s
	}
	if e.Fix != "" {
		s += " (" + e.Fix + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
