// Package lane carries streams between two peers: each is a yamux stream, a
// yamux session (a lane) runs on one byte stream of the tunnel, and a [Set]
// holds all lanes of one tunnel.
//
// A mixed lane is shared by many streams. A pool of them grows with the number
// of streams, so that a lost packet stalls only a part of them. A dedicated
// lane carries one stream and ends with it.
//
// # A stream
//
// The side that dials writes a [Header] that names the service, and may write
// data right behind it. The other side answers with a code, once, before its
// own data; a code other than zero refuses the stream.
//
// Each direction ends by itself ([Stream.CloseWrite]). Close ends both and
// tells the peer that nobody reads any more: what was written before still
// arrives, while the peer's writes fail. Reset ends both at once, at both ends:
// the peer's Read and Write fail without delay.
//
// # On the wire
//
// The bytes of a lane are yamux frames (version 0), with these rules on top,
// which the adapter under each yamux session (link) keeps and checks. Both ends
// of a lane must know them:
//
//   - A window update with RST carries the code of the reset as its length.
//   - A window update with the flag 0x10, which yamux does not have, says that
//     the sender does not read any more: the receiver's writes fail.
//   - One with the flag 0x20 says that the sender writes and has little left of its
//     window; its length is what it was granted in all, beyond the first 256 KiB.
//   - The link, not yamux, decides how much window a stream is granted: 256 KiB
//     at first (the constant of yamux), up to 32 MiB while its reader keeps up
//     and the window, not the path, is what limits it.
//   - Only the end that opened a lane opens streams on it. Flags come in window
//     updates only. No pings: the tunnel below knows whether the peer is alive.
//   - A frame that breaks the rules ends the lane; a data frame for a stream
//     that is not there is dropped: it may have been on its way.
//
// So a reset needs nothing but the lane itself, and overtakes the data that
// waits in it.
//
// # Who goes first
//
// The tunnel below serves the byte streams of all lanes in turn. So who shall go
// first is decided before they are written: while a dedicated lane has something
// to write, mixed lanes get a sixteenth of what it writes, and while it may have
// more at any moment, one mixed lane at a time writes what the tunnel takes in
// 3 ms. Both ends do that for what they send. Without a dedicated lane nothing of
// this happens.
//
// # Memory
//
// A [Budget] bounds what unread data may occupy, in all lanes of all sets that
// share it: one for the process. In 116 MiB fit two hundred stalled downloads and
// all large windows. Windows beyond the first 256 KiB of a stream come from half
// of it: a stream's at most two thirds of what is left there, a set's at most
// three quarters, so that downloads that pause with a large window leave
// something for others. When it is exceeded, the streams that have pinned most
// for longest are reset, first in the set that occupies most; a stream whose
// reader keeps up goes last. No reader can stall a lane: a lane never waits for
// one.
//
// A stream occupies what is unread, in blocks of 32 KiB, and nothing when all is
// read. What is written waits in its lane, 256 KiB at most, whose writers wait.
//
// # Ownership
//
// [Set.Run] owns every lane: the byte stream below it, the yamux session on it,
// and the goroutines of both. It closes them before it returns, and waits for
// the handlers of accepted streams. Who dials a [Stream] closes it. A stream
// that was accepted is closed when its handler returns.
package lane
