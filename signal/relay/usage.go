package relay

import (
	"sync/atomic"
	"time"
)

// A usage is what two peers have relayed here: a quota is one of a day, by UTC.
type usage struct {
	day  atomic.Int64  // since 1970
	used atomic.Uint64 // bytes on that day

	sessions int // that count for it; the owner of the usages keeps it

	owed   float64 // bytes that the rate has advanced as of paidAt; for one goroutine
	paidAt time.Time
}

// pay takes so many bytes of a quota, and reports false if it was used up before.
func (u *usage) pay(bytes int, quota uint64, now time.Time) bool {
	if u.spent(quota, now) {
		return false
	}
	u.used.Add(uint64(bytes))
	return true
}

// spent reports whether a quota is used up. 0 is none, which never is. At midnight two callers
// may not agree on the day: the later one is it.
func (u *usage) spent(quota uint64, now time.Time) bool {
	if today, was := dayOf(now), u.day.Load(); (today > was || today < was-1) && u.day.CompareAndSwap(was, today) {
		u.used.Store(0)
	}
	return quota > 0 && u.used.Load() >= quota
}

// advance reports whether a rate in bytes a second leaves room for so many, and takes it.
func (u *usage) advance(bytes int, rate float64, now time.Time) bool {
	burst := max(rate/4, 64<<10) // a quarter of a second
	u.owed = max(0, u.owed-now.Sub(u.paidAt).Seconds()*rate)
	u.paidAt = now
	if u.owed+float64(bytes) > burst {
		return false
	}
	u.owed += float64(bytes)
	return true
}

const day = 24 * time.Hour

func dayOf(t time.Time) int64 { return t.Unix() / int64(day/time.Second) }

// untilTomorrow returns how long quotas that are used up now stay so.
func untilTomorrow(now time.Time) time.Duration {
	return time.Unix((dayOf(now)+1)*int64(day/time.Second), 0).Sub(now)
}

// maxUsages bounds the pairs that are remembered, but for those with sessions, which are
// bounded themselves. When there are more, among forgetAmong of them the one is forgotten
// that has used the least.
const (
	maxUsages   = 1 << 16
	forgetAmong = 8
)

// usages are those of the pairs that have a session or had one today. A pair has one: it is
// not forgotten while a session counts for it.
type usages[K comparable] map[K]*usage

// hold returns the usage of a pair, for a session that counts for it until its release.
func (us usages[K]) hold(pair K, now time.Time) *usage {
	u := us[pair]
	if u == nil {
		if len(us) >= maxUsages {
			us.forgetOne()
		}
		u = &usage{paidAt: now}
		u.day.Store(dayOf(now))
		us[pair] = u
	}
	u.sessions++
	return u
}

// release ends what hold has begun. Nil is nobody's.
func (u *usage) release() {
	if u != nil {
		u.sessions--
	}
}

func (us usages[K]) forgetOne() {
	var least *usage
	var whose K
	seen := 0
	for pair, u := range us { // in no order
		if u.sessions == 0 && (least == nil || u.used.Load() < least.used.Load()) {
			least, whose = u, pair
		}
		if seen++; seen == forgetAmong {
			break
		}
	}
	if least != nil {
		delete(us, whose)
	}
}

// sweep forgets what was before today, of pairs without a session.
func (us usages[K]) sweep(now time.Time) {
	today := dayOf(now)
	for pair, u := range us {
		if u.sessions == 0 && u.day.Load() < today {
			delete(us, pair)
		}
	}
}
