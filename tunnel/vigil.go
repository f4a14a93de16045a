package tunnel

import (
	"fmt"
	"time"
)

// A vigil gives up a peer of which nothing is heard, when there is reason to
// think that it is gone, sooner than QUIC would. It holds no clock: every method
// is told the time.
type vigil struct {
	offlineFor time.Duration // of silence, after which a peer that is offline is gone

	now, wall time.Time // when tick was called last
	offlineAt time.Time // since when the peer is offline; zero: it is not
	doubtAt   time.Time // since when it must be heard; zero: it was
	doubted   bool      // what tick was told last
}

// doubtFor is how long nothing may be heard of a peer that is said to have been
// restarted, or after this machine has slept.
const doubtFor = 2 * time.Second

func newVigil(offlineFor time.Duration, now, wall time.Time) vigil {
	return vigil{offlineFor: offlineFor, now: now, wall: wall.Round(0)}
}

// tick is told the time, by the clock that timers follow and by that of the
// wall, when the peer was heard last, and what the signal server says of it. ask
// wants the peer to be asked for a sign of life; lost says why it is given up.
func (v *vigil) tick(now, wall, heard time.Time, offline, doubted bool) (ask bool, lost error) {
	if v.slept(now, wall) || doubted && !v.doubted {
		v.doubtAt, ask = now, true
	}
	v.doubted = doubted
	switch {
	case !offline:
		v.offlineAt = time.Time{}
	case v.offlineAt.IsZero():
		v.offlineAt, ask = now, true
	}
	if heard.After(v.doubtAt) {
		v.doubtAt = time.Time{}
	}
	switch {
	case !v.offlineAt.IsZero() && now.Sub(v.offlineAt) > v.offlineFor && now.Sub(heard) > v.offlineFor:
		return ask, fmt.Errorf("%w: it is offline and silent", ErrPeerLost)
	case !v.doubtAt.IsZero() && now.Sub(v.doubtAt) > doubtFor:
		return ask, fmt.Errorf("%w: it is silent since it was restarted, or this machine slept", ErrPeerLost)
	}
	return ask, nil
}

// slept reports whether the machine was suspended since the call before, for
// longer than a peer keeps a silent tunnel: the wall clock went on, the one that
// timers follow did not, and neither did QUIC's.
func (v *vigil) slept(now, wall time.Time) bool {
	wall = wall.Round(0) // without the reading that would not have gone on
	longer := wall.Sub(v.wall) - now.Sub(v.now)
	v.now, v.wall = now, wall
	return longer > quicIdle
}

// A reminder makes a peer that owes an answer be asked again and again. QUIC does
// that too, but waits twice as long each time: when a network has been away for
// some seconds, it would find out many seconds after its return.
type reminder struct {
	heard   time.Time // as tick was told last
	sent    uint64    // when that changed
	askedAt time.Time // or since when there is something to answer; zero: there is nothing
	asked   bool      // since heard
}

// remindEvery is the least time between two questions.
const remindEvery = time.Second

// tick is told when the peer was heard last, how many bytes were sent to it, and
// the round trip time. ask wants it to be asked for a sign of life: because it is
// silent, or because it was and QUIC does not know yet that it is back.
func (r *reminder) tick(now, heard time.Time, sent uint64, rtt time.Duration) (ask bool) {
	switch {
	case heard.After(r.heard):
		ask = r.asked
		*r = reminder{heard: heard, sent: sent}
	case sent == r.sent:
	case r.askedAt.IsZero():
		r.askedAt = now
	case now.Sub(r.askedAt) >= max(remindEvery, 4*rtt):
		r.askedAt, r.asked = now, true
		ask = true
	}
	return ask
}
