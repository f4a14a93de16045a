// Package tunnel keeps one encrypted tunnel to each remote peer that somebody
// wants to reach, and carries any number of streams over it.
//
// A tunnel is made on demand and shared. The two ends are introduced by the signal server
// or, where that cannot, in a local network (package lan). It is one QUIC connection whose packets
// go through the signal server's websocket from the first moment, and move to a relay
// on UDP and to a direct path as soon as they are proven; QUIC knows each peer by a
// fictitious address and notices nothing (package pathsock). Streams are yamux
// streams inside QUIC streams (package lane). Thirty seconds after its last
// stream both ends agree to end it.
//
//	DialContext ─► session ─► lane ─► yamux stream
//	                  │
//	                  ├─ QUIC connection, both keys pinned
//	                  ├─ control stream: idle, punch, candidates
//	                  └─ climb: ICE attempts, a place at a relay, choice of path
//
// # Ownership
//
// [Manager.Run] owns the UDP socket, the QUIC transport and every session; a
// session's run owns its connection, its lanes and its ICE attempts. Each is
// closed by a defer of the frame that opened it. A stream belongs to whoever
// dialed it, or to the handler that was called with it.
package tunnel
