package lane

import (
	"sync"
	"sync/atomic"
	"time"
)

// keepsUp is how recently the reader of a stream must have taken something for
// the stream to be reset only after all others.
const keepsUp = time.Second

// idleWindow is how long a stream must have been granted nothing for its window
// to shrink when another wants to grow.
const idleWindow = time.Second

// A Budget bounds what the unread data of streams occupies, in all sets that
// share it. It is safe for concurrent use.
type Budget struct {
	limit  int64
	blocks blocks

	mu       sync.Mutex
	used     int64
	extra    int64 // sum of the windows above initialWindow
	accounts map[*account]struct{}
}

// NewBudget returns a budget of so many bytes; zero means 64 MiB.
func NewBudget(limit int64) *Budget {
	if limit == 0 {
		limit = budgetSize
	}
	return &Budget{limit: limit, accounts: make(map[*account]struct{})}
}

// Used returns how many bytes unread data occupies now.
func (b *Budget) Used() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}

// A share is what the streams of one set occupy. It belongs to the budget.
type share struct{ used int64 }

// An account is what one stream is charged. Its fields belong to the budget.
type account struct {
	flow   *flow
	share  *share
	held   int64 // in blocks
	extra  int64 // part of budget.extra
	closed bool

	// Written by the stream, without the budget's mutex.
	unread  atomic.Int64
	since   atomic.Int64 // Unix nanoseconds: its reader's last progress, or when it got something to read
	moved   atomic.Bool  // its reader has ever taken something
	granted atomic.Int64 // Unix nanoseconds: the last grant
}

// received records n bytes that nobody has read.
func (a *account) received(n int, now time.Time) {
	if a.unread.Add(int64(n)) == int64(n) {
		a.since.Store(now.UnixNano())
	}
}

// read records that the reader has taken n bytes.
func (a *account) read(n int, now time.Time) {
	a.unread.Add(-int64(n))
	a.since.Store(now.UnixNano())
	a.moved.Store(true)
}

// get returns a block for a, and the streams that must be reset to keep to the
// limit, a's own perhaps among them; they are not charged any more. A stream that
// has ended gets none.
func (b *Budget) get(a *account, small bool, now time.Time) (x *block, evict []*flow) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed {
		return nil, nil
	}
	if a.held == 0 {
		a.since.Store(now.UnixNano())
	}
	x = b.blocks.get(small)
	b.charge(a, len(x.data))
	for b.used > b.limit {
		worst := b.worst(now)
		if worst == nil {
			break
		}
		b.drop(worst)
		evict = append(evict, worst.flow)
	}
	return x, evict
}

func (b *Budget) charge(a *account, n int) {
	b.used += int64(n)
	a.share.used += int64(n)
	a.held += int64(n)
	b.accounts[a] = struct{}{}
}

// put takes a block back that get returned for a.
func (b *Budget) put(a *account, x *block) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !a.closed {
		b.charge(a, -len(x.data))
		b.forget(a)
	}
	b.blocks.put(x)
}

// worst returns who has pinned most for longest: of the streams whose readers do
// not keep up, those of the set that occupies most; of all, if they all do; nil if
// none holds anything. A stream whose data is announced but does not come holds its
// block too.
func (b *Budget) worst(now time.Time) (worst *account) {
	var most float64
	spared := true
	for a := range b.accounts {
		if a.held == 0 {
			continue
		}
		stalled := max(0, now.Sub(time.Unix(0, a.since.Load())))
		spare := a.moved.Load() && stalled < keepsUp
		score := float64(a.held) * float64(stalled+1) // where no time has passed, bytes count
		switch {
		case worst == nil, spared && !spare:
		case spared != spare, a.share.used < worst.share.used:
			continue
		case a.share.used == worst.share.used && score <= most:
			continue
		}
		worst, most, spared = a, score, spare
	}
	return worst
}

// grow reports whether the window of a may grow by n. Windows above the initial
// one are granted from half of the limit, and none takes more than two thirds of
// what is left of that: a download that is paused keeps its window, but others
// still get one. Who has read all and was granted nothing for long makes room.
func (b *Budget) grow(a *account, n int64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	enough := func() bool { return a.extra+n <= (b.limit/2-b.extra+a.extra)*2/3 }
	if a.closed || a.extra+n > b.limit/3 {
		return false
	}
	for other := range b.accounts {
		if enough() {
			break
		}
		if other != a && other.unread.Load() == 0 && now.Sub(time.Unix(0, other.granted.Load())) > idleWindow {
			b.extra -= other.extra
			other.extra = 0
			b.forget(other)
		}
	}
	if !enough() {
		return false
	}
	b.extra += n
	a.extra += n
	b.accounts[a] = struct{}{}
	return true
}

// shrink takes n of the window of a back.
func (b *Budget) shrink(a *account, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = min(n, a.extra)
	a.extra -= n
	b.extra -= n
	b.forget(a)
}

// window returns what the window of a may be.
func (b *Budget) window(a *account) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return initialWindow + a.extra
}

// close ends a. Calling it again does nothing.
func (b *Budget) close(a *account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(a)
}

func (b *Budget) drop(a *account) {
	if a.closed {
		return
	}
	a.closed = true
	b.used -= a.held
	a.share.used -= a.held
	b.extra -= a.extra
	a.held, a.extra = 0, 0
	delete(b.accounts, a)
}

// forget removes an account that holds nothing.
func (b *Budget) forget(a *account) {
	if a.held == 0 && a.extra == 0 {
		delete(b.accounts, a)
	}
}
