// Package relay forwards packets between two peers that have no direct path to
// each other, and tells peers their addresses with STUN.
//
// On UDP a [Server] does all of it on one socket. Each end of a session shows a
// [Grant], which the signal server has made for it, and is bound to the address that it
// comes from; a [Binding] is the peer's side of that. What an end sends goes to the other
// end of its session and nowhere else, as it came:
//
//	type (1 byte), session (8 bytes), packet
//
// On websockets the signal server carries the same frames, and a [Table] tells it whose
// packets go where: there the connections prove who is who.
//
// # Ownership
//
// [Table], [Forwarder] and [Binding] are memory and nothing else. [Server.Serve] borrows
// its socket and starts nothing.
package relay
