// Package lan lets peers that know each other meet on a network that both are in, without
// a signal server.
//
// A [Neighbours] asks the local networks where a peer is (multicast DNS, RFC 6762) and
// hands it a letter: a message, sealed and signed, in one UDP packet from path socket to
// path socket, repeated until it is acknowledged.
//
//	Send ─► finder: who is …._peerway._udp.local? ─► its address
//	     └► courier: letter ─► the other's courier
//	                      ◄─ challenge: with this cookie, please
//	                 letter ─► Take
//	                      ◄─ ack: only who has opened the letter can make it
//
// # Privacy
//
// Nothing is announced, and nothing answers whoever browses. Two peers have a secret that
// follows from their identities. A question names the peer by random bytes, the date, and a
// MAC of them; the peer recognises itself, and only it learns who asks: nobody else can tell
// whom a question is for, nor whether two are for the same peer. A letter names its sender
// only to who knows the addressee.
//
// # Hostile networks
//
// Packets count only if they come from an address of a network that this host is in, and
// that is private, link-local or unique local. All of them have a MAC of the peer that they
// claim to be of: what a stranger makes up costs 3 µs and is not answered, and whatever
// address it is sent from takes nothing from others. Limits are for each peer that is allowed
// and for what has been overheard, so that a flood delays nobody but who sends it.
//
// What was overheard is of no use later. A letter is opened only with a cookie that its
// addressee has made for the sender at its address less than 40 s before, and once. It has no
// date, because that would lock out those who need this package most: a device without a
// battery does not know the time before it has reached the internet. The question does have a
// date, for its answer is all that it is about: with a cookie the peer would show itself
// before it knows to whom. There a late clock is forgiven for a week, and always if it is that
// of the peer asked for. So who overhears a question can find out whether the peer that it
// does not know is still in a network: for a week from the date in it, which is longer if the
// clock of who asked was ahead. An answer is given once, but the peer forgets that with its
// process, and the oldest of 1024 questions of who asked: those of 128 searches in one network.
//
// # Ownership
//
// [Neighbours.Run] owns the multicast sockets and the goroutines that read them, and
// releases them before it returns. The path socket is borrowed. Nothing else lasts longer
// than a call.
package lan
