// Package lan lets peers that know each other meet on a network that both are in, without
// a signal server.
//
// A [Neighbours] asks the local networks where a peer is (multicast DNS, RFC 6762) and
// hands it a letter: a message, sealed and signed, in one UDP packet from path socket to
// path socket, repeated until it is acknowledged.
//
//	Send ─► finder: who is …._peerway._udp.local? ─► its address
//	     └► courier: letter ─► the other's courier ─► Take
//	                      ◄─ ack: only who has opened the letter can make it
//
// # Privacy
//
// Nothing is announced, and nothing answers whoever browses. A question names a peer by a
// random number and a MAC of it and the date, keyed with the peer's id: a peer recognises
// itself, and nobody else can tell whom a question is for, nor whether two are for the same
// peer. One that was overheard can be asked again for a day or two. A letter names its
// sender only to who knows the addressee.
//
// # Hostile networks
//
// Packets count only if they come from an address of a network that this host is in, and
// that is private, link-local or unique local. Letters are opened, which is what costs
// something, only if they claim to be from a peer that is allowed, and 20 a second at most.
//
// # Ownership
//
// [Neighbours.Run] owns the multicast sockets and the goroutines that read them, and
// releases them before it returns. The path socket is borrowed. Nothing else lasts longer
// than a call.
package lan
