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

// NewBudget returns a budget of so many bytes; zero means 116 MiB: 57 MiB are what
// two hundred streams hold that nobody reads, and half of it is for large windows.
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
type share struct {
	used  int64
	extra int64 // part of budget.extra
}

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

// grow returns by how much the window of a grows: most, or if that is too much
// least, or nothing. Windows above the initial one are granted from half of the
// limit. No stream takes more than two thirds of what is left of that, so that
// downloads that are paused with a large window leave something for others, and no
// set more than three quarters. Who has read all and was granted nothing for long
// makes room.
func (b *Budget) grow(a *account, most, least int64, now time.Time) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.closed {
		return 0
	}
	pool := b.limit / 2
	fits := func(n, free, ours int64) bool { // if so much was given back, so much of it by the set of a
		left := pool - b.extra + free + a.extra
		return a.extra+n <= left*2/3 && a.share.extra-ours+n <= pool*3/4
	}
	if fits(most, 0, 0) {
		b.widen(a, most)
		return most
	}
	var idle []*account
	var free, ours int64
	for other := range b.accounts {
		if other != a && other.extra > 0 && other.unread.Load() == 0 && now.Sub(time.Unix(0, other.granted.Load())) > idleWindow {
			idle = append(idle, other)
			free += other.extra
			if other.share == a.share {
				ours += other.extra
			}
		}
	}
	for _, n := range [...]int64{most, least} {
		if !fits(n, free, ours) {
			continue
		}
		for _, other := range idle {
			if fits(n, 0, 0) {
				break
			}
			b.widen(other, -other.extra)
		}
		b.widen(a, n)
		return n
	}
	return 0
}

// widen records that the window of a has become larger by n.
func (b *Budget) widen(a *account, n int64) {
	b.extra += n
	a.share.extra += n
	a.extra += n
	b.accounts[a] = struct{}{}
	b.forget(a)
}

// shrink takes n of the window of a back.
func (b *Budget) shrink(a *account, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.widen(a, -min(n, a.extra))
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
	a.share.extra -= a.extra
	a.held, a.extra = 0, 0
	delete(b.accounts, a)
}

// forget removes an account that holds nothing.
func (b *Budget) forget(a *account) {
	if a.held == 0 && a.extra == 0 {
		delete(b.accounts, a)
	}
}
