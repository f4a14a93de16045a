// Package bbr decides how fast a connection may send: BBR version 3, as
// draft-ietf-ccwg-bbr describes it, whose section numbers are beside the code and
// whose names are kept where they are the field's.
//
// A [Controller] is pure. It is told what was sent, acknowledged and lost, and
// when; it has no clock, no goroutine, and knows no QUIC library.
//
// # Where it leaves the draft
//
// The draft takes more than 2 % of lost packets for a queue that is too long.
// Cameras sit on Wi-Fi and mobile links that lose more than that all the time, so
// the controller learns what a path loses while its queue is empty, if that has
// shown that it delays packets before it loses them (file noise.go). That much is
// no sign of congestion, the pacing rate makes up for it, and the draft's 2 %
// count on top; and on such a path nothing up to a fifth that is lost while the
// queue is short slows it down between probes. In Startup and in UP, loss ends
// the search only if it is more than any noise or the queue has shown itself.
//
// Wi-Fi and mobile links vary their delay. What may be in flight is reckoned with
// the smallest mean of a round trip, not with the shortest single one, which
// leaves such a link half empty (file model.go). Between probes that is times
// 1.5 and not 2: two flows that share a link overestimate it, and would keep
// the difference standing in its queue. A link that becomes much slower, as its
// queue shows, lowers the bounds as loss does, instead of two cycles later. A flow
// that finds less than 90 % of the bandwidth arriving and a queue that stands
// although it is not probing yields to others for the rest of the cycle: to 85 % of
// what arrives. Else a flow that comes late finds no room when it probes.
//
// UP goes on at its bound only while the queue is short; while the noise is not
// known, growth by a tenth keeps it going, and it makes up for all loss. The
// headroom that CRUISE leaves to others never goes below the bandwidth-delay
// product. What Startup or a probe has lost, and comes to light after it, does not
// lower the bounds. A ProbeRTT that cuts the round after UP short ends the cycle
// of the bandwidth filter as that round would have.
//
// A second after a change of path there is a ProbeRTT, as the packets that were
// on the old one may stand in the queue of the new one.
//
// A round trip that is as short as the shortest known, but for 1/16, shows an
// empty queue too and spares the connection a ProbeRTT.
//
// What the draft does after a spurious loss or a retransmission timeout is not
// here: QUIC libraries tell of neither.
//
// # Ownership
//
// A Controller owns nothing that must be released. Its methods are called by one
// goroutine at a time.
package bbr
