package pathsock

import "time"

// A gatherer lets packets gather in the kernel when they come one by one and
// fast, as a network card does with its interrupts: each read then takes many,
// QUIC acknowledges once for all of them, and a receiver at 200 Mbit/s needs half
// the processor time. It belongs to the goroutine that reads.
type gatherer struct {
	since   int64 // Socket.now at the beginning of the count
	packets int   // large ones since then
	few     bool  // the last read took few: they come one by one
	longest int64 // pause that their peer can bear
}

const (
	gatherSpan = int64(2 * time.Millisecond)
	gatherFrom = 6    // packets in a span: 35 Mbit/s
	gatherTo   = 64   // more than that, and they come in batches anyway
	largeFrom  = 1000 // bytes
	fewPackets = 4    // of one read
)

// count takes in what a read has brought from a peer that can bear patience.
func (g *gatherer) count(now int64, packets, bytes int, patience int64) {
	if now-g.since > gatherSpan {
		g.since, g.packets = now, 0
	}
	g.few = packets <= fewPackets
	g.longest = patience
	g.packets += min(packets, bytes/largeFrom)
}

// pause returns how long to wait before the next read; 0: not at all.
func (g *gatherer) pause(now int64) time.Duration {
	if g.longest == 0 || !g.few || now-g.since > gatherSpan || g.packets < gatherFrom || g.packets > gatherTo {
		return 0
	}
	g.since, g.packets = now, 0
	return time.Duration(g.longest)
}
