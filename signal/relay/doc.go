// Package relay forwards packets between two peers that have no direct path to
// each other: the frame that carries one packet, the table that says whose
// packets go where, and the STUN answers by which peers learn their addresses.
//
// The table does not know what carries the frames. It holds no connections, so
// whoever serves a carrier asks it for the other peer and writes there.
//
// # Ownership
//
// A [Table] is memory and nothing else. [ServeSTUN] borrows its socket and
// starts nothing.
package relay
