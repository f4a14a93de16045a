// Package server is the signal server: peers log in over a websocket, hear of
// the peers they have paired with, pass each other sealed messages and relay
// packets, and meet new peers through pairing mailboxes. It answers STUN on UDP
// at the same port number.
//
// # Ownership
//
// [Server.Run] owns the listener, the UDP socket and every connection. Each
// connection has one goroutine whose frame owns it; its writer lives only while
// there is something to write. There are no timers per connection: one sweep
// finds what has gone silent.
package server
