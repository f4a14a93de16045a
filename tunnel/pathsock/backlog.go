package pathsock

import (
	"sync/atomic"
	"time"
)

// A backlog keeps the packets that QUIC was given and has not looked at yet
// below what it drops: a connection of quic-go holds 256 and throws the rest
// away, though the kernel would have kept them. When the process gets to run after
// a pause, that is a loss that the sender takes for congestion.
//
// It belongs to the goroutine that reads, but for the atomic fields.
type backlog struct {
	taken   atomic.Pointer[func() uint64] // bytes of packets that QUIC has looked at; nil: not known
	waiting atomic.Bool
	moved   chan struct{} // holds a token when taken is to be asked again

	given [backlogRing]uint64 // bytes given up to each of the last packets
	count uint64              // packets given
	seen  uint64              // what taken has said last
	never uint64              // bytes given that QUIC will not count
	timer *time.Timer         // of wait; made on demand

	// A connection that got nowhere in a wait is not waited for until then. Its
	// packets go where QUIC drops them: others must not wait for it again and again.
	until  time.Time
	during time.Duration // doubles each time
}

const (
	backlogRing = 256
	// backlogMost leaves room for the batch in which it is exceeded.
	backlogMost = 192
	// backlogLess is when reading goes on.
	backlogLess = 96
	// backlogWait bounds one wait. The connection's goroutine may itself have to
	// wait for a processor.
	backlogWait = 20 * time.Millisecond

	minBacklogPause = 20 * time.Millisecond
	maxBacklogPause = 2 * time.Second
)

// give records a packet of n bytes that is given to QUIC.
func (b *backlog) give(n int) {
	b.given[b.count%backlogRing] = b.last() + uint64(n)
	b.count++
}

// last returns the bytes given in all.
func (b *backlog) last() uint64 { return b.given[(b.count-1)%backlogRing] }

// full reports whether QUIC has enough, and may be waited for.
func (b *backlog) full() bool {
	return !b.under(backlogMost) && (b.during == 0 || time.Now().After(b.until))
}

// under reports whether fewer than n packets wait.
func (b *backlog) under(n uint64) bool {
	if b.count < n {
		return true
	}
	oldest := b.given[(b.count-n)%backlogRing]
	if oldest <= b.seen+b.never {
		return true
	}
	taken := b.taken.Load()
	if taken == nil {
		return true
	}
	b.seen = (*taken)()
	b.never = min(b.never, b.last()-min(b.seen, b.last())) // what was written off may come to be counted
	return oldest <= b.seen+b.never
}

// wait waits until QUIC has looked at most of what it has, for backlogWait at
// most.
func (b *backlog) wait() {
	if b.timer == nil {
		b.timer = time.NewTimer(backlogWait)
	}
	b.waiting.Store(true)
	defer b.waiting.Store(false)
	b.timer.Reset(backlogWait)
	defer b.timer.Stop()
	for !b.under(backlogLess) {
		select {
		case <-b.moved:
		case <-b.timer.C:
			if !b.under(backlogLess) {
				b.never = b.last() - min(b.seen, b.last())
				b.during = min(max(2*b.during, minBacklogPause), maxBacklogPause)
				b.until = time.Now().Add(b.during)
			}
			return
		}
	}
	b.during = 0
}

// Follow lets the socket keep back packets of the peer while QUIC has many that
// it has not looked at. taken returns the bytes of those that it has; it is
// called by the goroutine that reads. [Peer.Advance] tells when it has changed.
func (p *Peer) Follow(taken func() uint64) { p.backlog.taken.Store(&taken) }

// Advance tells that QUIC has looked at packets. It never blocks.
func (p *Peer) Advance() {
	if !p.backlog.waiting.Load() {
		return
	}
	select {
	case p.backlog.moved <- struct{}{}:
	default:
	}
}
