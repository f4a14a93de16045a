package lane

import (
	"testing"
	"time"
)

func newBudget(limit int64, flows int) (*budget, []*account) {
	b := &budget{limit: limit, accounts: make(map[*account]struct{})}
	var accounts []*account
	for range flows {
		accounts = append(accounts, &newFlow(nil, 1, false).account)
	}
	return b, accounts
}

func TestBudgetEvictsWhatPinsMostForLongest(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	b, a := newBudget(1000, 4)
	b.charge(a[0], 10, at(0))  // little, for longest
	b.charge(a[1], 200, at(1)) // much, for long
	b.charge(a[2], 250, at(8)) // most, but just now
	if b.used != 920 {
		t.Errorf("%d used, want 920: twice what is unread", b.used)
	}
	evict := b.charge(a[3], 45, at(9))
	if len(evict) != 1 || evict[0] != a[1].flow {
		t.Errorf("the wrong streams were evicted: %v", evict)
	}
	if b.used != 610 {
		t.Errorf("%d used, want 610", b.used)
	}
	if more := b.charge(a[1], 10000, at(9)); more != nil || b.used != 610 {
		t.Errorf("a stream that is gone was charged: %v, %d", more, b.used)
	}
}

// A reader that took something just now is spared for one that never did, even
// if that had less time to.
func TestBudgetSparesWhoKeepsUp(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	b, a := newBudget(1000, 3)
	b.charge(a[0], 300, at(0))
	b.read(a[0], 100, at(100))
	if evict := b.charge(a[2], 250, at(500)); len(evict) != 1 || evict[0] != a[2].flow {
		t.Errorf("evicted %v, want the last", evict)
	}
	// A second later it does not keep up any more.
	if evict := b.charge(a[1], 250, at(1100)); len(evict) != 1 || evict[0] != a[0].flow {
		t.Errorf("evicted %v, want the first", evict)
	}
}

func TestBudgetReclaimsBeforeItEvicts(t *testing.T) {
	now := time.Unix(1, 0)
	b, a := newBudget(1000, 3)
	b.charge(a[0], 300, now)
	b.read(a[0], 300, now) // drained, but its buffer is still there
	b.charge(a[1], 150, now)
	if b.used != 900 {
		t.Errorf("%d used, want 900", b.used)
	}
	if evict := b.charge(a[2], 100, now); evict != nil {
		t.Errorf("evicted %d streams", len(evict))
	}
	if b.used != 500 {
		t.Errorf("%d used, want 500", b.used)
	}
}

// A stream that alone is over the limit is the one to go.
func TestBudgetEvictsTheOneThatAsks(t *testing.T) {
	b, a := newBudget(1000, 1)
	if evict := b.charge(a[0], 501, time.Unix(1, 0)); len(evict) != 1 || evict[0] != a[0].flow || b.used != 0 {
		t.Errorf("evicted %d streams, %d used", len(evict), b.used)
	}
}

func TestBudgetShrinksIdleStreams(t *testing.T) {
	now := time.Unix(1, 0)
	b, a := newBudget(1<<20, 1)
	b.charge(a[0], 100<<10, now)
	if b.keeps(a[0]) {
		t.Error("a buffer with unread data is worth giving back")
	}
	b.shrink(a[0])
	if b.used == 0 {
		t.Error("unread data is not charged any more")
	}
	b.read(a[0], 100<<10, now)
	if !b.keeps(a[0]) {
		t.Error("a drained buffer is not worth giving back")
	}
	b.shrink(a[0])
	if b.used != 0 || b.keeps(a[0]) {
		t.Errorf("%d used after shrinking", b.used)
	}
}

func TestBudgetGrow(t *testing.T) {
	b, a := newBudget(4000, 2)
	if !b.grow(a[0], 600) || b.grow(a[1], 600) || !b.grow(a[1], 400) {
		t.Error("a quarter of the limit, 1000, is not what windows may grow by")
	}
	b.close(a[0])
	b.close(a[0])
	if b.extra != 400 || b.grow(a[0], 1) {
		t.Errorf("%d granted after the end of a stream", b.extra)
	}
}
