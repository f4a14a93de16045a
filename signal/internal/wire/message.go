package wire

import (
	"cmp"

	"github.com/fxamacker/cbor/v2"

	"peerway/signal"
)

// How a signal websocket is asked for.
const (
	Subprotocol = "peerway.v1"
	Path        = "/v1"
)

// MaxMessage is the longest message, in bytes.
const MaxMessage = 16 << 10

// A Type says what the body of a [Frame] is. The numbers are never reused.
type Type uint16

// The messages, with who sends them: c the peer, s the server.
const (
	TypeChallenge    Type = 1  // s: Challenge, first of all
	TypeHello        Type = 2  // c: Hello, its answer
	TypeWelcome      Type = 3  // s: Welcome, or Error and the end
	TypeError        Type = 4  // s: Error, to a request or on its own
	TypeResult       Type = 5  // s: nothing; the request was carried out
	TypePing         Type = 6  // c: nothing; answered with Pong
	TypePong         Type = 7  // s: nothing
	TypeGoingAway    Type = 8  // s: GoingAway; the server ends, come back
	TypeAnnounce     Type = 9  // c: Announce
	TypePresence     Type = 10 // s: signal.Presence
	TypeSend         Type = 11 // c: Sealed, Peer is the receiver
	TypeDeliver      Type = 12 // s: Sealed, Peer is the sender
	TypeBind         Type = 13 // c: Bind
	TypeMailboxOpen  Type = 14 // c: Mailbox, TTL is what is left of its life
	TypeMailboxClose Type = 15 // c: Mailbox
	TypeMailboxClaim Type = 16 // c: Mailbox, Box for the one who opened it
	TypeMailboxTaken Type = 17 // s: Mailbox, Box of the claim, Peer who claims
	TypeMailboxReply Type = 18 // c: Mailbox, Box for the one who claims; empty refuses
	TypeMailboxReady Type = 19 // s: Mailbox, Box of the reply; answers the claim
	TypeGrants       Type = 20 // s: Grants, after a Bind of two who may talk
	TypeSpent        Type = 21 // s: Spent, to both ends, instead of packets
)

// A Frame is a message with its type. ID is chosen by the peer for a request
// that wants an answer, and repeated in the answer; 0 is none.
type Frame struct {
	Type Type            `cbor:"0,keyasint"`
	ID   uint64          `cbor:"1,keyasint,omitempty"`
	Body cbor.RawMessage `cbor:"2,keyasint,omitempty"`
}

// A Challenge opens a connection.
type Challenge struct {
	Nonce  []byte `cbor:"0,keyasint"` // 32 random bytes
	Server []byte `cbor:"1,keyasint"` // the server's Ed25519 public key
}

// A Hello says who a peer is and proves it (see [Hello.Transcript]).
type Hello struct {
	Peer     signal.PeerID `cbor:"0,keyasint"`
	Name     string        `cbor:"1,keyasint"`
	Instance uint64        `cbor:"2,keyasint,omitempty"`
	Sig      []byte        `cbor:"3,keyasint"`           // by Peer, of the transcript
	Join     []byte        `cbor:"4,keyasint,omitempty"` // MAC of the transcript under the join secret
	Mailbox  []byte        `cbor:"5,keyasint,omitempty"` // a pairing mailbox, instead of Join
}

// A Welcome ends the login.
type Welcome struct {
	Name      string `cbor:"0,keyasint"`           // the display name, as it is known now
	Heartbeat uint32 `cbor:"1,keyasint"`           // seconds from one Ping to the next
	Observed  string `cbor:"2,keyasint"`           // ADDRESS:PORT that the server sees
	Addr      string `cbor:"3,keyasint,omitempty"` // IPv4:PORT of the server, as far as it knows
	Addr6     string `cbor:"4,keyasint,omitempty"` // [IPv6]:PORT
}

// An Error refuses a request, or the connection.
type Error struct {
	Code       Code   `cbor:"0,keyasint"`
	Text       string `cbor:"1,keyasint,omitempty"`
	Suggestion string `cbor:"2,keyasint,omitempty"` // a free name
	RetryAfter uint32 `cbor:"3,keyasint,omitempty"` // milliseconds
}

// An Announce replaces what a peer exposes and whom it allows. A long one comes
// in parts: More says that another follows, and only the last takes effect.
type Announce struct {
	Services []signal.Service `cbor:"0,keyasint,omitempty"`
	Allow    []signal.PeerID  `cbor:"1,keyasint,omitempty"`
	More     bool             `cbor:"2,keyasint,omitempty"`
}

// Sealed is a box from or to a peer.
type Sealed struct {
	Peer signal.PeerID `cbor:"0,keyasint"`
	Box  []byte        `cbor:"1,keyasint"`
}

// Bind joins the sender and To in a relay session. Success is not answered.
type Bind struct {
	Session uint64        `cbor:"0,keyasint"`
	To      signal.PeerID `cbor:"1,keyasint"`
	Relays  []string      `cbor:"2,keyasint,omitempty"` // that it was granted, see [Grant.Where]: a new server gives the same
}

// MaxRelays is how many relays a session has.
const MaxRelays = 3

// Grants let the receiver use relays on UDP for a session, the best first.
type Grants struct {
	Session uint64  `cbor:"0,keyasint"`
	Grants  []Grant `cbor:"1,keyasint"`
}

// A Grant is a relay.Grant for the relay at an address.
type Grant struct {
	Addr   string `cbor:"0,keyasint,omitempty"` // IPv4:PORT; neither: UDP at the address of the signal server
	Addr6  string `cbor:"6,keyasint,omitempty"` // [IPv6]:PORT
	End    uint8  `cbor:"1,keyasint,omitempty"`
	Until  uint32 `cbor:"2,keyasint"` // Unix seconds
	Rate   uint32 `cbor:"3,keyasint,omitempty"`
	Quota  uint32 `cbor:"4,keyasint,omitempty"`
	Secret []byte `cbor:"5,keyasint"` // 32 bytes
	Pair   uint64 `cbor:"7,keyasint,omitempty"`
}

// Where returns what a relay is known by: one of its addresses, or nothing if it is the
// signal server's own.
func (g Grant) Where() string { return cmp.Or(g.Addr, g.Addr6) }

// Spent says that the websocket carries no more packets of a session, because its two peers
// have used up their quota.
type Spent struct {
	Session uint64 `cbor:"0,keyasint"`
	Left    uint32 `cbor:"1,keyasint"` // seconds until there is a new one
}

// A Mailbox carries the two boxes of a pairing.
type Mailbox struct {
	ID   []byte        `cbor:"0,keyasint"` // 32 bytes
	Box  []byte        `cbor:"1,keyasint,omitempty"`
	TTL  uint32        `cbor:"2,keyasint,omitempty"` // seconds
	Peer signal.PeerID `cbor:"3,keyasint,omitzero"`
}

// GoingAway announces the end of the server.
type GoingAway struct {
	RetryAfter uint32 `cbor:"0,keyasint,omitempty"` // milliseconds
}

// A Code is the kind of an [Error]. The numbers are never reused.
type Code uint16

// The codes. Those of a refused login that no retry can heal come first.
const (
	CodeNameTaken   Code = 1
	CodeBadName     Code = 2
	CodeBadSecret   Code = 3 // the join secret is wrong, or missing
	CodeBadProof    Code = 4 // the signature is wrong
	CodeWrongCode   Code = 5 // no such mailbox
	CodeCodeUsed    Code = 6
	CodeCodeExpired Code = 7
	CodeTryLater    Code = 8 // too many wrong codes; see RetryAfter

	CodeUnsupported Code = 20
	CodeMalformed   Code = 21
	CodeTooLarge    Code = 22
	CodeRateLimited Code = 23 // see RetryAfter
	CodeOffline     Code = 24
	CodeNotAllowed  Code = 25
	CodeBusy        Code = 26 // a queue or the server is full
	CodeDisplaced   Code = 27 // the same peer logged in again
	CodeSilent      Code = 28 // nothing was heard for too long
	CodeLimit       Code = 29 // more than one peer may have
)

// Fatal reports whether coming back with the same login is useless.
func (c Code) Fatal() bool { return c < CodeUnsupported }

// CloseCode returns the websocket close code that goes with c: 4000 and up for
// come back, 4500 and up for do not.
func (c Code) CloseCode() int {
	if c.Fatal() {
		return 4500 + int(c)
	}
	return 4000 + int(c)
}
