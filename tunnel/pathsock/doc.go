// Package pathsock is the one UDP socket of the process, as QUIC sees it.
//
// QUIC knows every peer by one fictitious address that never changes. The
// [Socket] maps that address to the path of the moment: the peer's real
// address, a relay, or both at once. QUIC therefore survives every change of
// path without noticing one. Packets for ICE and STUN share the socket and are
// told apart by their first two bits (RFC 9443).
//
// On Linux a batch of packets costs one system call in each direction: UDP_GRO
// and recvmmsg on receive, UDP_SEGMENT on send, where [Peer.Run] makes larger
// batches of QUIC's. Elsewhere a packet costs one.
//
// A direct path that is narrower than the packets carries them in two parts: a
// Peer finds out by probes that it sends while packets are written.
//
// # Ownership
//
// [Listen] opens the socket, and whoever called it closes it, after the
// transport that reads it. The package starts no goroutine: packets are
// received in the goroutine that calls ReadBatch or ReadFrom, and everything
// that Listen was given a function for is called from there. A [Peer] belongs
// to whoever added it, and holds memory only: a place in two tables, and the
// batches that are being joined. Whoever calls [Peer.Run] waits for it.
package pathsock
