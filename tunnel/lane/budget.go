package lane

import (
	"sync"
	"time"
)

// A budget bounds what unread data occupies in all lanes of a set. It is safe
// for concurrent use.
//
// What a stream occupies is not the number of its unread bytes: yamux keeps
// them in a bytes.Buffer, which grows by doubling and keeps its size when it
// is drained. So a stream is charged twice the most it has held unread, until
// its buffer is given back.
type budget struct {
	limit int64

	mu       sync.Mutex
	used     int64
	extra    int64 // sum of the windows above initialWindow
	accounts map[*account]struct{}
}

// An account is what one stream is charged. Its fields belong to the budget.
type account struct {
	flow   *flow
	unread int64
	held   int64     // charged
	extra  int64     // part of budget.extra
	since  time.Time // the last progress of its reader, or when it got something to read
	moved  bool      // its reader has ever taken something
	closed bool
}

// smallBuffer is what the receive buffer of a stream may keep while it is idle.
const smallBuffer = 16 << 10

// charge records n more unread bytes for a. It returns the streams that must be
// reset to keep to the limit, a's own perhaps among them; they are not charged
// any more.
func (b *budget) charge(a *account, n int64, now time.Time) (evict []*flow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed {
		return nil
	}
	if a.unread == 0 {
		a.since = now
	}
	a.unread += n
	if need := 2 * a.unread; need > a.held {
		b.used += need - a.held
		a.held = need
		b.accounts[a] = struct{}{}
	}
	if b.used > b.limit {
		b.reclaim()
	}
	for b.used > b.limit {
		worst := b.worst(now)
		if worst == nil {
			return evict
		}
		b.drop(worst)
		evict = append(evict, worst.flow)
	}
	return evict
}

// reclaim takes the buffers back of all streams that have nothing unread. No
// data can come in between for such a stream: that is charged first.
func (b *budget) reclaim() {
	for a := range b.accounts {
		if a.unread == 0 {
			a.flow.shrink()
			b.used -= a.held
			a.held = 0
			delete(b.accounts, a)
		}
	}
}

// keepsUp is how recently a reader must have taken something to be spared as
// long as there are others.
const keepsUp = time.Second

// worst returns the account that has pinned most for longest, in bytes times
// time, of those whose readers do not keep up; of all, if they all do; nil if
// none has unread data.
func (b *budget) worst(now time.Time) (worst *account) {
	var most float64
	spared := true
	for a := range b.accounts {
		if a.unread == 0 {
			continue
		}
		stalled := now.Sub(a.since)
		spare := a.moved && stalled < keepsUp
		score := float64(a.unread) * float64(stalled+1) // where no time has passed, bytes count
		if worst == nil || spared && !spare || spared == spare && score > most {
			worst, most, spared = a, score, spare
		}
	}
	return worst
}

// read records that the reader of a has taken n bytes.
func (b *budget) read(a *account, n int64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a.unread -= n
	a.since = now
	a.moved = true
}

// shrink gives back the buffer of a stream that has been idle for a while.
func (b *budget) shrink(a *account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed || a.unread != 0 || a.held == 0 {
		return
	}
	a.flow.shrink()
	b.used -= a.held
	a.held = 0
	delete(b.accounts, a)
}

// keeps reports whether a has a buffer worth giving back.
func (b *budget) keeps(a *account) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !a.closed && a.unread == 0 && a.held > smallBuffer
}

// grow reports whether the window of a may grow by n. Windows above the initial
// one are granted from a quarter of the limit: full, they are charged half.
func (b *budget) grow(a *account, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed || b.extra+n > b.limit/4 {
		return false
	}
	b.extra += n
	a.extra += n
	return true
}

// close ends a. Calling it again does nothing.
func (b *budget) close(a *account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(a)
}

func (b *budget) drop(a *account) {
	if a.closed {
		return
	}
	a.closed = true
	b.used -= a.held
	b.extra -= a.extra
	delete(b.accounts, a)
}
