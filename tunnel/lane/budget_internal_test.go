package lane

import (
	"testing"
	"time"
)

func newAccounts(b *Budget, of *share, n int) (accounts []*account) {
	for range n {
		accounts = append(accounts, &newFlow(nil, 1, false, of).account)
	}
	return accounts
}

// receive takes blocks for a and fills them.
func receive(b *Budget, a *account, blocks int, now time.Time) (evict []*flow) {
	for range blocks {
		_, more := b.get(a, false, now)
		a.received(bigBlock, now)
		evict = append(evict, more...)
	}
	return evict
}

func TestBudgetEvictsWhatPinsMostForLongest(t *testing.T) {
	b := NewBudget(20 * bigBlock)
	a := newAccounts(b, new(share), 4)
	receive(b, a[0], 1, at(0))     // little, for longest
	receive(b, a[1], 8, at(1000))  // much, for long
	receive(b, a[2], 10, at(8000)) // most, but just now
	evict := receive(b, a[3], 2, at(9000))
	if len(evict) != 1 || evict[0] != a[1].flow {
		t.Errorf("the wrong streams were evicted: %v", evict)
	}
	if want := int64(13 * bigBlock); b.used != want {
		t.Errorf("%d used, want %d", b.used, want)
	}
	if x, more := b.get(a[1], false, at(9000)); x != nil || more != nil {
		t.Errorf("a stream that is gone got a block")
	}
}

// A reader that took something just now is spared for one that never did, even
// if that had less time to.
func TestBudgetSparesWhoKeepsUp(t *testing.T) {
	b := NewBudget(10 * bigBlock)
	a := newAccounts(b, new(share), 3)
	receive(b, a[0], 6, at(0))
	a[0].read(bigBlock, at(100))
	if evict := receive(b, a[2], 5, at(500)); len(evict) != 1 || evict[0] != a[2].flow {
		t.Errorf("evicted %v, want the last", evict)
	}
	// A second later it does not keep up any more.
	if evict := receive(b, a[1], 5, at(1100)); len(evict) != 1 || evict[0] != a[0].flow {
		t.Errorf("evicted %v, want the first", evict)
	}
}

// One tunnel's stalled streams go before those of another that occupies less.
func TestBudgetEvictsFromWhoOccupiesMost(t *testing.T) {
	b := NewBudget(20 * bigBlock)
	little := newAccounts(b, new(share), 1)[0]
	much := newAccounts(b, new(share), 8)
	receive(b, little, 4, at(0))
	var evict []*flow
	for _, a := range much {
		evict = append(evict, receive(b, a, 3, at(1000))...)
	}
	if len(evict) == 0 {
		t.Error("nobody was evicted")
	}
	for _, f := range evict {
		if f == little.flow {
			t.Error("the stream of the other tunnel was evicted")
		}
	}
}

// A stream that alone is over the limit is the one to go.
func TestBudgetEvictsTheOneThatAsks(t *testing.T) {
	b := NewBudget(bigBlock)
	a := newAccounts(b, new(share), 1)
	if evict := receive(b, a[0], 2, at(0)); len(evict) != 1 || evict[0] != a[0].flow || b.used != 0 {
		t.Errorf("evicted %d streams, %d used", len(evict), b.used)
	}
}

func TestBudgetTakesBlocksBack(t *testing.T) {
	b, of := NewBudget(0), new(share)
	a := newAccounts(b, of, 1)[0]
	x, _ := b.get(a, true, at(0))
	y, _ := b.get(a, false, at(0))
	if want := int64(smallBlock + bigBlock); b.used != want || of.used != want {
		t.Errorf("%d used, of them %d by the set, want %d", b.used, of.used, want)
	}
	b.put(a, x)
	b.close(a)
	b.close(a)
	b.put(a, y) // after the end
	if b.used != 0 || of.used != 0 || len(b.accounts) != 0 {
		t.Errorf("%d used, of them %d by the set, %d accounts", b.used, of.used, len(b.accounts))
	}
}

// Windows grow from half of the limit, none by more than two thirds of what is
// left; who does not use his makes room, but not in vain.
func TestBudgetGrow(t *testing.T) {
	b := NewBudget(6000)
	first, second := new(share), new(share)
	a := append(newAccounts(b, first, 2), newAccounts(b, second, 2)...)
	for _, x := range a {
		x.granted.Store(at(0).UnixNano())
	}
	for _, step := range []struct {
		who               int
		most, least, want int64
	}{
		{0, 2001, 2001, 0}, {0, 9000, 1200, 1200}, {0, 801, 801, 0}, {0, 800, 1, 800}, // of 3000
		{1, 251, 251, 0}, {1, 250, 1, 250}, // the set may have 2250
		{2, 501, 501, 0}, {2, 501, 400, 400}, // of 750
	} {
		if got := b.grow(a[step.who], step.most, step.least, at(1)); got != step.want {
			t.Errorf("stream %d grows by %d, or %d: %d, want %d", step.who, step.most, step.least, got, step.want)
		}
	}
	for _, x := range a[1:] {
		x.granted.Store(at(1500).UnixNano())
	}
	a[0].received(1, at(1))
	if got := b.grow(a[3], 700, 500, at(1600)); got != 0 {
		t.Errorf("it grows by %d although nobody makes room", got)
	}
	a[0].read(1, at(1))
	if got := b.grow(a[3], 2000, 1700, at(1600)); got != 0 || b.window(a[0]) != initialWindow+2000 {
		t.Errorf("it grows by %d, and a window that would not have been enough is %d", got, b.window(a[0]))
	}
	if got := b.grow(a[3], 2000, 500, at(1600)); got != 500 || b.window(a[0]) != initialWindow {
		t.Errorf("it grows by %d, and a window that was not used is %d", got, b.window(a[0]))
	}
	b.shrink(a[3], 300)
	if b.extra != 850 || second.extra != 600 {
		t.Errorf("%d granted, to the second set %d, want 850 and 600", b.extra, second.extra)
	}
	b.close(a[3])
	if got := b.grow(a[3], 1, 1, at(1600)); got != 0 || b.extra != 650 || second.extra != 400 {
		t.Errorf("%d granted after the end of a stream, to its set %d, %d more to it", b.extra, second.extra, got)
	}
}
