package lane

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A turns lets the lanes of a set write as the schedule decides. Its mutex is the
// innermost: it is taken with that of a link held.
type turns struct {
	active atomic.Int32 // dedicated lanes; while there is none, nobody waits and nothing is counted
	chunk  atomic.Int32 // of the schedule

	mu       sync.Mutex
	schedule schedule
	line     []*link // mixed lanes that wait for their turn
}

// A turn is what turns knows of a link. Its fields belong to turns.
type turn struct {
	come      chan struct{} // holds a token when the lane must ask again
	dedicated bool
	left      bool
	piece     piece // being written
}

// dedicate makes l one that goes first.
func (t *turns) dedicate(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.turn.dedicated || l.turn.left {
		return
	}
	l.turn.dedicated = true
	t.schedule.done(&l.turn.piece, time.Now()) // what it may be writing as a mixed one
	t.withdraw(l)
	t.active.Add(1)
	t.callNext()
}

// ask returns how much l may write now: it tells begin what it writes, then done.
// If that is nothing, l asks again when its turn has come, or after wait
// unless that is 0.
func (t *turns) ask(l *link) (n int, wait time.Duration) {
	if t.active.Load() == 0 {
		return unlimited, 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.turn.dedicated {
		return dedicatedChunk, 0
	}
	if !slices.Contains(t.line, l) {
		t.line = append(t.line, l)
	}
	if t.line[0] != l {
		return 0, 0
	}
	now := time.Now()
	n, wait = t.schedule.admit(now)
	if n == 0 {
		return 0, wait
	}
	t.line = slices.Delete(t.line, 0, 1)
	if n < unlimited {
		t.schedule.beginMixed(&l.turn.piece, n, now)
	}
	t.callNext() // who may have to wait for this one, but not for ever
	return n, 0
}

// begin says that l writes n bytes.
func (t *turns) begin(l *link, n int) {
	if t.active.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.turn.dedicated {
		t.schedule.beginDedicated(&l.turn.piece, n, time.Now())
		t.callNext() // it may have earned a chunk
	} else {
		l.turn.piece.size = n // at most what it asked for
	}
}

// done says that l has written what begin was told of, and whether more waits.
func (t *turns) done(l *link, more bool) {
	if t.active.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !l.turn.dedicated || !more { // a dedicated lane goes on at once
		t.schedule.done(&l.turn.piece, time.Now())
	}
	t.chunk.Store(int32(t.schedule.chunk))
	t.callNext()
}

// leave ends the part of l. It takes no turn any more.
func (t *turns) leave(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.turn.left = true
	t.withdraw(l)
	t.schedule.done(&l.turn.piece, time.Now())
	if l.turn.dedicated {
		l.turn.dedicated = false
		if t.active.Add(-1) == 0 {
			t.schedule = schedule{}
			for _, waits := range t.line {
				notify(waits.turn.come)
			}
			t.line = nil
		}
	}
	t.callNext()
}

// withdraw takes l out of the line.
func (t *turns) withdraw(l *link) {
	if i := slices.Index(t.line, l); i >= 0 {
		t.line = slices.Delete(t.line, i, i+1)
	}
}

// callNext makes the first in line ask again.
func (t *turns) callNext() {
	if len(t.line) > 0 {
		notify(t.line[0].turn.come)
	}
}

// frame returns how much data l puts into one frame: in between, control frames
// overtake.
func (t *turns) frame() int {
	if t.active.Load() == 0 {
		return maxFrame
	}
	return max(minFrame, min(int(t.chunk.Load()), maxFrame))
}
