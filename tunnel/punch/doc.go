// Package punch finds a direct path to a peer through NATs and firewalls: ICE
// (RFC 8445) and STUN (RFC 8489) on a UDP socket that QUIC uses at the same
// time.
//
// The socket belongs to someone else. A [Puncher] is told of every STUN packet
// that arrives ([Puncher.Deliver]) and sends through a function. Each packet
// passes a strict check of its form and, for ICE, of its signature before
// anything else of it is believed; only then does the ICE library see it.
//
// An [Attempt] is one run of ICE: it describes this side, is told the peer's
// description, and reports the address that was proven, its loss, or why none
// was found. Attempts are independent, also when they lead to the same address:
// requests are told apart by the user name they carry, answers by the
// transaction that they answer. So a new attempt may run while the path of an
// older one is in use.
//
// Where a NAT gives every destination another port, ICE alone may find nothing. Then one
// side sends from many sockets and the other to many ports, those that can be foreseen
// if there are such, while the attempt lasts.
//
// # Ownership
//
// A Puncher owns memory only: no socket, no goroutine, nothing to close. An
// Attempt owns its goroutines; they have ended when [Attempt.Close] returns,
// but for a few of the ICE library that are returning at that moment and do
// nothing more. Packets handed to Deliver are borrowed.
package punch
