package relay

import (
	"net/netip"
	"testing"
	"time"

	"peerway/signal"
)

// However many pairs there are, what is remembered of them is bounded, and those that have
// used much are not the ones that are forgotten.
func TestUsagesAreBounded(t *testing.T) {
	now, us := time.Unix(1e9, 0), make(usages[int])
	for pair := range 100 {
		u := us.hold(pair, now)
		u.pay(1<<20, 1<<30, now)
		u.release()
	}
	for pair := range 3 * maxUsages {
		us.hold(1000+pair, now).release()
	}
	if len(us) > maxUsages {
		t.Errorf("%d pairs are remembered", len(us))
	}
	kept := 0
	for pair := range 100 {
		if us[pair] != nil {
			kept++
		}
	}
	if kept < 90 {
		t.Errorf("%d of 100 that have used much are remembered", kept)
	}
	us.sweep(now.Add(day))
	if len(us) != 0 {
		t.Errorf("%d pairs of yesterday are remembered", len(us))
	}
}

// beforeMidnight is when quotas of the next day are near.
func beforeMidnight() time.Time { return time.Date(2026, 1, 1, 23, 59, 30, 0, time.UTC) }

// TestTableQuotaOverMidnight: two peers that keep the sessions of other days have one quota
// for all of them.
func TestTableQuotaOverMidnight(t *testing.T) {
	a, b, table := signal.PeerID{1}, signal.PeerID{2}, Table{Quota: 1000}
	for day := range uint64(4) {
		now := beforeMidnight().AddDate(0, 0, int(day))
		table.Bind(day, a, b, now)
		now = now.Add(time.Minute)
		table.Sweep(now)
		passed := 0
		for id := range day + 1 {
			for ok := true; ok; {
				if ok, _ = table.Pay(id, 100, now); ok {
					passed += 100
				}
			}
		}
		if passed != 1000 {
			t.Errorf("%d sessions: %d bytes passed, want 1000", day+1, passed)
		}
		for range 24 * 60 {
			now = now.Add(time.Minute)
			for id := range day + 1 {
				table.Other(id, a, now)
				table.Pay(id, 0, now)
			}
			table.Sweep(now)
		}
	}
	if n := len(table.usages); n != 1 {
		t.Errorf("one pair has %d usages", n)
	}
	later := beforeMidnight().AddDate(0, 0, 9)
	table.Sweep(later)
	table.Sweep(later)
	if n := len(table.usages); n != 0 {
		t.Errorf("%d usages of pairs without sessions are remembered", n)
	}
}

// TestForwarderQuotaOverMidnight is that for a relay on UDP.
func TestForwarderQuotaOverMidnight(t *testing.T) {
	f, key, now := NewForwarder(Key{1}), Key{1}, beforeMidnight()
	at := func(session uint64, end uint8) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, end}), uint16(session))
	}
	bind := func(session uint64) {
		for end := range uint8(2) {
			g := key.Grant(session, end, 7, now.Add(time.Hour), Limits{Quota: 1})
			f.admit(g, berth{Line: Line{Remote: at(session, end)}}, now)
		}
	}
	bind(1)
	now = now.Add(45 * time.Second)
	f.Sweep(now)
	bind(2)
	passed := 0
	for _, session := range []uint64{1, 2} {
		for ok := true; ok; {
			if _, ok = f.Forward(session, at(session, 0), 1<<10, now); ok {
				passed++
			}
		}
	}
	if passed != 1<<10 {
		t.Errorf("%d KiB passed, want 1024", passed)
	}
	now = now.AddDate(0, 0, 1)
	f.Sweep(now)
	if f.Len() != 0 || len(f.usages) != 0 {
		t.Errorf("%d sessions and %d usages of yesterday are remembered", f.Len(), len(f.usages))
	}
}

// What two goroutines charge at midnight, who do not agree on the day, does not renew the
// quota again and again; a clock that was set back does.
func TestUsageAtMidnight(t *testing.T) {
	var u usage
	midnight := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	passed := 0
	for range 10 {
		for _, now := range []time.Time{midnight.Add(-time.Millisecond), midnight} {
			if u.pay(100, 300, now) {
				passed++
			}
		}
	}
	if passed != 4 { // one of the day before
		t.Errorf("%d packets passed, want 4", passed)
	}
	if u.spent(300, midnight.AddDate(-1, 0, 0)) {
		t.Error("a quota of the future is used up")
	}
}
