package wire

import (
	"io"
	"net"
	"sync"
	"time"
)

const (
	// gatherFor is the longest that a frame is held back. Nobody sees it: a
	// picture is shown when its last packet has come, and that one never waits.
	gatherFor = 5 * time.Millisecond

	gatherMost = 32 << 10 // bytes that are held back
)

// A Gatherer writes the packets of a picture at once: it holds interleaved
// frames back until the packet with the RTP marker, the last of its picture
// (RFC 3550, 5.1), for 5 ms and 32 KiB at most. Each write costs a system call, a
// way through the network, and a wake-up of who reads. All but media goes out at
// once, behind what is held back. It is safe for concurrent use.
type Gatherer struct {
	to io.Writer

	mu    sync.Mutex // held while writing
	held  []byte
	timer *time.Timer // runs while something is held; nil before the first time
	err   error       // why nothing is written any more
}

// NewGatherer returns a Gatherer that writes to w, which it borrows until Close
// returns.
func NewGatherer(w io.Writer) *Gatherer { return &Gatherer{to: w} }

// Write takes one frame or one message, whole. The error may be that of what
// was held back before.
func (g *Gatherer) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	wait := waits(p)
	if len(g.held)+len(p) > gatherMost {
		g.flush()
	}
	if len(g.held) == 0 && !wait || len(p) > gatherMost {
		g.write(p)
	} else {
		g.hold(p)
		if !wait {
			g.flush()
		}
	}
	if g.err != nil {
		return 0, g.err
	}
	return len(p), nil
}

// Flush writes what is held back.
func (g *Gatherer) Flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flush()
	return g.err
}

// Close writes what is held back, and nothing afterwards. It does not close the
// writer.
func (g *Gatherer) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flush()
	err := g.err
	g.err = net.ErrClosed
	return err
}

// hold holds p back. The caller holds mu.
func (g *Gatherer) hold(p []byte) {
	switch {
	case len(g.held) > 0:
	case g.timer == nil:
		g.timer = time.AfterFunc(gatherFor, func() { g.Flush() })
	default:
		g.timer.Reset(gatherFor)
	}
	g.held = append(g.held, p...)
}

// flush is Flush for a caller that holds mu.
func (g *Gatherer) flush() {
	if len(g.held) > 0 {
		g.timer.Stop()
		g.write(g.held)
		g.held = g.held[:0]
	}
}

// write writes p unless a write has failed before. The caller holds mu.
func (g *Gatherer) write(p []byte) {
	if g.err == nil {
		_, g.err = g.to.Write(p)
	}
}

// waits reports whether p may be held back: it is a packet of media, on one of
// the even channels, without the marker. The packets of a connection whose
// channels are numbered otherwise go out at once.
func waits(p []byte) bool {
	return len(p) >= 4+12 && p[0] == '$' && p[1]%2 == 0 && p[4+1]&0x80 == 0
}
