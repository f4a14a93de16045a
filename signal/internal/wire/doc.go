// Package wire is what a peer and a signal server say to each other: messages,
// their encoding, the proof of a login, and the [Link] that carries messages and
// relay frames over one websocket.
//
// A message is a binary websocket message with one CBOR map (RFC 8949) with
// integer keys that are never reused. Unknown keys are ignored, unknown types
// answered with an [Error]. A binary message whose first two bits are 00 is a
// relay frame (peerway/signal/relay).
//
// # Ownership
//
// A [Link] owns its connection from [NewLink] on, and one goroutine while it has
// something to write. [Link.Close] closes the one and waits for the other.
package wire
